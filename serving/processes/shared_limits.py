"""What API keys may still ask for, in memory that all processes of a server share.

A key's limits are of the server, whichever process its requests come to. A token bucket is two numbers, what
it holds and when that was; here they lie in a file that exists in memory alone, which children inherit, and
are changed under a lock on it. Seconds of `time.monotonic` are those of the machine, the same for all.
"""

import fcntl
import mmap
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b

from serving.processes.accepting import memory_file
from serving.web.access.limits import Bucket, TokenBucket, refilled, wait_seconds

MOST_BUCKETS = 8192

_ENTRY = struct.Struct("16sdd")  # digest of the name and its limit, level, second of the clock
_FREE = bytes(16)


class SharedBuckets:
    """A table of token buckets.

    Args:
        descriptor: of the file, from `create` in this process or in its parent.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, MOST_BUCKETS * _ENTRY.size)
        self._lock = threading.Lock()

    @classmethod
    def create(cls) -> "SharedBuckets":
        """Make an empty table, in a file without a name."""
        return cls(memory_file("offramp-limits", MOST_BUCKETS * _ENTRY.size))

    def bucket(self, name: str, per_second: float, least: float, clock: Callable[[], float]) -> Bucket:
        """Return the bucket of that name and those limits; it begins full.

        Buckets are never freed. Where the table is full, after thousands of changes to the file of keys, it
        is one of this process alone.
        """
        digest = blake2b(f"{name}\0{per_second!r}\0{least!r}".encode(), digest_size=16).digest()
        with self.held():
            place = self._place(digest)
            if place is None:
                return TokenBucket(per_second, least, clock)
            if self.read(place)[0] == _FREE:
                self.write(place, digest, max(per_second, least), clock())
        return SharedBucket(self, place, per_second, max(per_second, least), clock)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes, and other threads of this one, from the table."""
        with self._lock:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self.descriptor, fcntl.LOCK_UN)

    def read(self, place: int) -> tuple[bytes, float, float]:
        """Return an entry: digest, level and second."""
        return _ENTRY.unpack_from(self._memory, place * _ENTRY.size)

    def write(self, place: int, digest: bytes, level: float, at: float) -> None:
        """Change an entry."""
        _ENTRY.pack_into(self._memory, place * _ENTRY.size, digest, level, at)

    def _place(self, digest: bytes) -> int | None:
        """Find an entry's place, or a free one for it."""
        first = int.from_bytes(digest[:4])
        for step in range(MOST_BUCKETS):
            place = (first + step) % MOST_BUCKETS
            if self.read(place)[0] in (digest, _FREE):
                return place
        return None


class SharedBucket:
    """One bucket of the table; see `serving.web.access.limits.TokenBucket`.

    Args:
        table: has it.
        place: in the table.
        per_second: what it gains.
        capacity: what it can hold.
        clock: seconds, monotonic, the same in all processes.
    """

    def __init__(
        self,
        table: SharedBuckets,
        place: int,
        per_second: float,
        capacity: float,
        clock: Callable[[], float],
    ) -> None:
        self._table, self._place, self._clock = table, place, clock
        self._per_second, self._capacity = per_second, capacity

    def take(self, amount: float) -> float:
        """Take so much if it may be taken; return 0, or how many seconds to wait."""
        with self._table.held():
            digest, level, at = self._table.read(self._place)
            now = self._clock()
            level = refilled(level, now - at, self._per_second, self._capacity)
            wait = wait_seconds(level, amount, self._per_second, self._capacity)
            self._table.write(self._place, digest, level if wait else level - amount, now)
            return wait

    def give_back(self, amount: float) -> None:
        """Put back what was not used; a negative amount takes what was used on top."""
        with self._table.held():
            digest, level, at = self._table.read(self._place)
            self._table.write(self._place, digest, min(self._capacity, level + amount), at)
