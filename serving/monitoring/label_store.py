"""Answers that labels may still come for, and the labels that came: a table in SQLite.

In memory without a state directory, in a file with one, where both survive a restart. The oldest answers go
first, beyond a number and after a time. Noting an answer only appends to a queue; a thread of its own writes.
"""

import json
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from structlog.typing import FilteringBoundLogger

from serving.system.database_format import refuse_other_formats

FILE = "labels.sqlite"
_FORMAT = 1
_WRITE_SECONDS = 1.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
  id INTEGER PRIMARY KEY, bundle TEXT NOT NULL, request TEXT NOT NULL, image INTEGER NOT NULL,
  at REAL NOT NULL, exit INTEGER NOT NULL, class INTEGER NOT NULL, budget REAL, max_drop REAL,
  final INTEGER, label INTEGER, UNIQUE (request, image)
);
CREATE INDEX IF NOT EXISTS answers_by_time ON answers (at);
CREATE INDEX IF NOT EXISTS answers_with_labels ON answers (bundle, exit) WHERE label IS NOT NULL;
CREATE TABLE IF NOT EXISTS monitors (bundle TEXT PRIMARY KEY, state TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class NotedAnswer:
    """An answer that a label may come for.

    Attributes:
        bundle: identity of the bundle that gave it.
        request: the server's id of the request.
        image: its place in the request, from 0.
        exit: where it left, from 1.
        class_index: what it was answered.
        budget_flops: of a request whose average budget decided; else None.
        max_drop: of a request whose guarantee decided; else None.
        final: what the last exit says of it; None where it was not sampled, or not checked yet.
        label: the true class; None where none came.
    """

    bundle: str
    request: str
    image: int
    exit: int
    class_index: int
    budget_flops: float | None = None
    max_drop: float | None = None
    final: int | None = None
    label: int | None = None

    @property
    def is_promised(self) -> bool:
        """Whether the calibration promises an accuracy; not where a deadline or a hard budget decided."""
        return self.budget_flops is not None or self.max_drop is not None


class AnswerNotes(Protocol):
    """Takes down answers that labels may come for."""

    def note(self, answers: Sequence[NotedAnswer]) -> None:
        """Remember answers."""

    def note_final(self, request: str, image: int, class_index: int) -> None:
        """Remember what the last exit says of an image of the random sample."""


class LabelStore:
    """Keeps answers and labels; safe from any thread.

    Args:
        folder: where the file is; None keeps all in memory.
        keep: how many answers.
        keep_seconds: for how long.
        logger: told of a file that cannot be used; the store then begins anew in memory.
        clock: seconds since the epoch: what is kept outlives the process.
        fetch: has answers noted that are still on their way from other processes.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        keep: int,
        keep_seconds: float,
        logger: FilteringBoundLogger,
        clock: Callable[[], float] = time.time,
        fetch: Callable[[], None] = lambda: None,
    ) -> None:
        self._fetch = fetch
        self._keep, self._keep_seconds, self._clock, self._logger = keep, keep_seconds, clock, logger
        self._lock = threading.RLock()
        self._noted: deque[tuple[float, NotedAnswer]] = deque(maxlen=keep)
        self._finals: deque[tuple[int, str, int]] = deque(maxlen=keep)
        self._early: list[tuple[int, str, int]] = []  # finals of answers that were not noted yet
        self._database = self._opened(folder)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="offramp-labels", daemon=True)
        self._thread.start()

    def note(self, answers: Sequence[NotedAnswer]) -> None:
        """Remember answers; they are written a moment later."""
        now = self._clock()
        self._noted.extend((now, answer) for answer in answers)

    def note_final(self, request: str, image: int, class_index: int) -> None:
        """Remember what the last exit says of an image of the sample."""
        self._finals.append((class_index, request, image))

    def find(self, bundle: str, request: str, image: int) -> NotedAnswer | None:
        """Return the answer to an image, if it is still kept."""
        with self._lock:
            found = self._database.execute(
                "SELECT exit, class, budget, max_drop, final, label FROM answers "
                "WHERE request = ? AND image = ? AND bundle = ? AND at >= ?",
                (request, image, bundle, self._clock() - self._keep_seconds),
            ).fetchone()
        return None if found is None else NotedAnswer(bundle, request, image, *found)

    def set_label(self, request: str, image: int, label: int) -> None:
        """Write down the true class of an image."""
        self._database.execute(
            "UPDATE answers SET label = ? WHERE request = ? AND image = ?", (label, request, image)
        )

    def by_exit(self, bundle: str) -> dict[int, tuple[int, int]]:
        """Labelled answers of each exit, from 1, and how many of them were right."""
        with self._lock:
            rows = self._database.execute(
                "SELECT exit, COUNT(*), SUM(label = class) FROM answers "
                "WHERE bundle = ? AND label IS NOT NULL GROUP BY exit",
                (bundle,),
            ).fetchall()
        return {exit_number: (labelled, right) for exit_number, labelled, right in rows}

    def state(self, bundle: str) -> Any:
        """Return what `set_state` wrote down; None where nothing was."""
        with self._lock:
            found = self._database.execute(
                "SELECT state FROM monitors WHERE bundle = ?", (bundle,)
            ).fetchone()
        return None if found is None else json.loads(found[0])

    def set_state(self, bundle: str, state: Any) -> None:
        """Write down what is known of a bundle's accuracy."""
        self._database.execute("INSERT OR REPLACE INTO monitors VALUES (?, ?)", (bundle, json.dumps(state)))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write what is noted, then all that is done inside, or nothing of it."""
        self._fetch()
        with self._lock:
            self._write()
            with self._database:
                yield

    def close(self) -> None:
        """Write for the last time; may be called again."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._thread.join()
        with self._lock:
            self._write()
            self._database.close()

    def _work(self) -> None:
        while not self._closing.wait(_WRITE_SECONDS):
            try:
                with self._lock:
                    self._write()
            except sqlite3.Error as error:  # the disk is full, say: answers go on
                self._logger.error("labels_not_written", reason=str(error))

    def _write(self) -> None:
        """Write what is noted, and let go of what is too much or too old."""
        noted = [self._noted.popleft() for _ in range(len(self._noted))]
        finals = [self._finals.popleft() for _ in range(len(self._finals))]
        with self._database as database:
            database.executemany(
                "INSERT OR REPLACE INTO answers (bundle, request, image, at, exit, class, budget, max_drop) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        *(answer.bundle, answer.request, answer.image, at, answer.exit, answer.class_index),
                        *(answer.budget_flops, answer.max_drop),
                    )
                    for at, answer in noted
                ],
            )
            update = "UPDATE answers SET final = ? WHERE request = ? AND image = ?"
            for final in self._early:
                database.execute(update, final)
            self._early = [final for final in finals if not database.execute(update, final).rowcount]
            database.execute("DELETE FROM answers WHERE at < ?", (self._clock() - self._keep_seconds,))
            database.execute(
                "DELETE FROM answers WHERE id <= (SELECT MAX(id) FROM answers) - ?", (self._keep,)
            )

    def _opened(self, folder: Path | None) -> sqlite3.Connection:
        if folder is not None:
            path = folder / FILE
            try:
                folder.mkdir(parents=True, exist_ok=True)
                return _connect(str(path))
            except (OSError, sqlite3.Error) as error:
                self._logger.warning("labels_unusable", file=path.name, reason=str(error))
        return _connect(":memory:")


def _connect(path: str) -> sqlite3.Connection:
    """Open a database.

    Raises:
        sqlite3.Error: it is none, or of another format.
    """
    database = sqlite3.connect(path, check_same_thread=False)
    try:
        refuse_other_formats(database, _FORMAT)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.executescript(_SCHEMA)
        database.execute(f"PRAGMA user_version = {_FORMAT}")
    except sqlite3.Error:
        database.close()
        raise
    return database
