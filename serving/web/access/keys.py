"""API keys: who may ask, by a file of hashes that is read again when it changes.

A line is `name:class:hash`: whose key it is, how urgent its requests are (`high`, `normal` or `low`; may be
empty), and the SHA-256 of the key in hexadecimal digits. Behind it may stand what the key may ask for in a
second: `name:class:hash:requests=50,flops=2GFLOPs`. Empty lines and lines that start with `#` say nothing.
Keys are random and long: a plain hash does not reveal one.

    KEY=$(python -c "import secrets; print(secrets.token_urlsafe(32))")
    printf %s "$KEY" | sha256sum
"""

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from structlog.typing import FilteringBoundLogger

from serving.command_line import SettingsValueError
from serving.events import Listener, shielded
from serving.options import PRIORITIES, Priority
from serving.system.plain_file import read_plain
from serving.web.access.limits import UNLIMITED, Allowance, Limits, MakeBucket, own_bucket, read_limits

_LINE = re.compile(
    r"(?P<name>[\w.@-]{1,64}):(?P<priority>[a-z]*):(?P<hash>[0-9a-fA-F]{64})(?::(?P<limits>.{1,100}))?",
    re.ASCII,
)
_MOST_BYTES = 2**20
_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Key:
    """One caller's key.

    Args:
        name: of the caller; may be logged.
        priority: the class of its requests.
        sha256: of the key, 32 bytes.
        limits: what it may ask for in a second.
        allowance: what is left of that; None where there are no limits.
    """

    name: str
    priority: Priority
    sha256: bytes
    limits: Limits = UNLIMITED
    allowance: Allowance | None = field(default=None, compare=False)


def read_keys(text: str) -> list[Key]:
    """Read the lines of a key file.

    Raises:
        SettingsValueError: a line that is none, or a name given twice; names the line, never what is in it.
    """
    keys: dict[str, Key] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()  # noqa: PLW2901 - what is left of it
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        priority = (match["priority"] or "normal") if match else ""
        if match is None or priority not in PRIORITIES:
            raise SettingsValueError(
                f"line {number}: expected name:class:hash, with a class of {', '.join(PRIORITIES)} and the "
                "key's SHA-256 in 64 hexadecimal digits"
            )
        if match["name"] in keys:
            raise SettingsValueError(f"line {number}: {match['name']!r} is there already")
        try:
            limits = UNLIMITED if match["limits"] is None else read_limits(match["limits"])
        except ValueError as error:
            raise SettingsValueError(f"line {number}: {error}") from error
        key = Key(match["name"], cast("Priority", priority), bytes.fromhex(match["hash"]), limits)
        keys[key.name] = key
    if not keys:
        raise SettingsValueError("expected at least one key, found none: every request would be refused")
    return list(keys.values())


class KeyRing:
    """The keys of a file; looks whether it has changed once a second, when it is asked.

    Args:
        path: of the file.
        logger: gets a line when a changed file cannot be used; the keys before then stay.
        emit: gets an event for every request over the limits of its key.
        clock: seconds, monotonic.
        bucket: makes what counts against the limits of a key.

    Raises:
        SettingsValueError: the file cannot be read or used.
    """

    def __init__(
        self,
        path: Path,
        logger: FilteringBoundLogger,
        clock: Callable[[], float] = time.monotonic,
        emit: Listener | None = None,
        bucket: MakeBucket = own_bucket,
    ) -> None:
        self._bucket = bucket
        self._path, self._logger, self._clock = path, logger, clock
        self._emit = shielded(emit)
        self._looked_at = clock()
        self._stamp = self._stat()
        self._keys: Sequence[Key] = ()
        self._keys = self._read()

    def find(self, authorization: str) -> Key | None:
        """Return the key in an Authorization header, `Bearer KEY`; None where there is none that counts.

        Takes the same time whichever key it is, and whether there is one.
        """
        self._look()
        scheme, _, secret = authorization.partition(" ")
        presented = hashlib.sha256(secret.strip().encode()).digest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, presented):
                found = key
        return found if scheme.lower() == "bearer" else None

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at, stamp = now, self._stat()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = self._read()
        except SettingsValueError as error:
            self._logger.error("keys_not_read", reason=str(error))
        else:
            self._logger.info("keys_read", keys=len(self._keys))

    def _stat(self) -> tuple[int, ...]:
        try:
            status = self._path.stat()
        except OSError:
            return ()
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _read(self) -> list[Key]:
        try:
            keys = read_keys(read_plain(self._path, _MOST_BYTES).decode())
        except (OSError, ValueError) as error:
            told = error.strerror if isinstance(error, OSError) else str(error)
            reason = "it is no text" if isinstance(error, UnicodeDecodeError) else told
            raise SettingsValueError(f"--api-keys-file {self._path}: cannot be read: {reason}") from error
        except SettingsValueError as error:
            raise SettingsValueError(f"--api-keys-file {self._path}: {error}") from error
        known = {key.name: key for key in self._keys}
        return [replace(key, allowance=self._allowance(key, known.get(key.name))) for key in keys]

    def _allowance(self, key: Key, before: Key | None) -> Allowance | None:
        """What is left of a key's limits: as it was, where the file said the same of them before."""
        if before is not None and before.limits == key.limits:
            return before.allowance
        if key.limits == UNLIMITED:
            return None
        return Allowance(key.name, key.limits, self._emit, self._clock, self._bucket)
