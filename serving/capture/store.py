"""Captured images and their labels: a table in SQLite, in a file that only its owner may read."""

import errno
import os
import sqlite3
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from serving.capture.capture import CapturedImage
from serving.capture.sampling import sample_size
from serving.system.database_format import refuse_other_formats

FILE = "captured.sqlite"
FORMAT = 1
MOST_BUNDLES = 8
"""Bundles whose images are kept; beyond it those of the one go that captured nothing for longest."""

_WRITE_SECONDS = 1.0
_MOST_WAITING = 4
"""Samples' worth of images that may wait to be written, as from several processes that just began."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS captured (
  key REAL PRIMARY KEY, bundle TEXT NOT NULL, model TEXT NOT NULL, request TEXT, image INTEGER NOT NULL,
  at REAL NOT NULL, label INTEGER, height INTEGER NOT NULL, width INTEGER NOT NULL, pixels BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS captured_by_bundle ON captured (bundle, key);
CREATE INDEX IF NOT EXISTS captured_by_request ON captured (request, image);
"""


class CaptureStore:
    """Keeps a random sample of each bundle's images; safe from any thread.

    A thread of its own writes. What is deleted is overwritten in the file.

    Args:
        folder: where the file is; made if it is not there.
        most_images: of each bundle.
        most_bytes: of the pixels of each bundle's images.
        logger: told of what cannot be written, and of what is discarded.
        clock: seconds since the epoch.

    Raises:
        OSError, sqlite3.Error: the file cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        *,
        most_images: int,
        most_bytes: int,
        logger: FilteringBoundLogger,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._most_images, self._most_bytes = most_images, most_bytes
        self._logger, self._clock = logger, clock
        self._waiting: deque[tuple[float, CapturedImage]] = deque(maxlen=_MOST_WAITING * most_images)
        self._lock = threading.RLock()
        folder.mkdir(parents=True, exist_ok=True)
        self._database = _connect(folder / FILE)
        self._counts = self._counted()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="offramp-capture", daemon=True)
        self._thread.start()

    def keep(self, image: CapturedImage) -> None:
        """Keep an image, where its key is small enough; it is written a moment later."""
        self._waiting.append((self._clock(), image))

    def keys(self, bundle: str) -> Sequence[float]:
        """Return the keys of a bundle's images that are kept."""
        keys: list[float] = []
        with self._guarded():
            found = self._database.execute("SELECT key FROM captured WHERE bundle = ?", (bundle,))
            keys += [key for (key,) in found if isinstance(key, float)]
        return keys

    def label(self, bundle: str, labels: Sequence[tuple[str, int, int]]) -> None:
        """Write down true classes: request, place in it, index of the class; others' are passed over."""
        with self._guarded():
            self._write()
            with self._database:
                self._database.executemany(
                    "UPDATE captured SET label = ? WHERE request = ? AND image = ? AND bundle = ?",
                    [(label, request, image, bundle) for request, image, label in labels],
                )

    def counts(self) -> Mapping[str, int]:
        """Return how many images are kept, by the name of the model; as of the last write."""
        return self._counts

    def close(self) -> None:
        """Write for the last time."""
        self._closing.set()
        self._thread.join()
        with self._guarded():
            self._write()
        self._database.close()

    def _work(self) -> None:
        while not self._closing.wait(_WRITE_SECONDS):
            with self._guarded():
                self._write()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Hold the database; what goes wrong is logged, and serving goes on."""
        try:
            with self._lock:
                yield
        except sqlite3.Error as error:  # the disk is full, say
            self._logger.error("captured_not_written", file=FILE, reason=str(error))

    def _write(self) -> None:
        """Write what waits, and let go of what is too much; what cannot be written waits on."""
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        try:
            if waiting:
                self._insert(waiting)
        except sqlite3.Error:
            self._waiting.extendleft(reversed(waiting))
            raise

    def _insert(self, waiting: Sequence[tuple[float, CapturedImage]]) -> None:
        sizes = {
            image.bundle: sample_size(self._most_images, self._most_bytes, image.pixels.nbytes)
            for _, image in waiting
        }
        with self._database as database:
            database.executemany(
                "INSERT OR REPLACE INTO captured (key, bundle, model, request, image, at, height, width, "
                "pixels) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        *(image.key, image.bundle, image.model, image.request, image.image, at),
                        *(*image.pixels.shape[:2], image.pixels.tobytes()),
                    )
                    for at, image in waiting
                ],
            )
            for bundle, size in sizes.items():
                database.execute(
                    "DELETE FROM captured WHERE bundle = ? AND key > "
                    "(SELECT key FROM captured WHERE bundle = ? ORDER BY key LIMIT 1 OFFSET ?)",
                    (bundle, bundle, size - 1),
                )
            self._discard_bundles(database)
        self._counts = self._counted()

    def _discard_bundles(self, database: sqlite3.Connection) -> None:
        longest = database.execute(
            "SELECT bundle, model, COUNT(*) FROM captured GROUP BY bundle ORDER BY MAX(at) DESC "
            "LIMIT -1 OFFSET ?",
            (MOST_BUNDLES,),
        ).fetchall()
        for bundle, model, images in longest:
            database.execute("DELETE FROM captured WHERE bundle = ?", (bundle,))
            self._logger.warning("captured_discarded", bundle=model, images=images, reason="too many bundles")

    def _counted(self) -> Mapping[str, int]:
        found = self._database.execute("SELECT model, COUNT(*) FROM captured GROUP BY model")
        return {str(model): images for model, images in found}


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file, which nobody else may read.

    Raises:
        OSError: it cannot be made.
        sqlite3.Error: it is no database, or of another format.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0), 0o600)
    with os.fdopen(descriptor):
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "expected a regular file", str(path))
    database = sqlite3.connect(path, check_same_thread=False)
    try:
        refuse_other_formats(database, FORMAT)
        database.execute("PRAGMA secure_delete = ON")
        database.executescript(_SCHEMA)
        database.execute(f"PRAGMA user_version = {FORMAT}")
    except sqlite3.Error:
        database.close()
        raise
    return database
