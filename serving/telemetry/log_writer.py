"""Writes log lines from a thread of its own: logging never waits for the reader of the log.

A pipe without a reader takes 64 KB and then blocks the process that writes to it. Here a bounded number of
lines waits; further lines are dropped and counted, and the count is written once there is room again.
"""

import json
import os
import threading
from collections import deque

MOST_LINES = 10_000
MOST_BYTES = 4 * 2**20


class LogWriter:
    """A queue of lines, bounded in number and bytes, and the thread that empties it.

    The thread is a daemon: one that hangs in a write keeps no process from ending.

    Args:
        descriptor: of the file that the lines go to.
        most_lines: how many may wait.
        most_bytes: how many bytes they may have together.
    """

    def __init__(self, descriptor: int, most_lines: int = MOST_LINES, most_bytes: int = MOST_BYTES) -> None:
        self._descriptor = descriptor
        self._most_lines, self._most_bytes = most_lines, most_bytes
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self._dropped = self._untold = 0
        self._thread = threading.Thread(target=self._work, name="offramp-log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Number of lines that were not written."""
        return self._dropped

    def write(self, line: str) -> None:
        """Have a line written, or drop it; from any thread, and at once."""
        data = line.encode(errors="backslashreplace") + b"\n"
        with self._changed:
            if len(self._lines) >= self._most_lines or self._bytes + len(data) > self._most_bytes:
                self._dropped += 1
                self._untold += 1
                return
            self._lines.append(data)
            self._bytes += len(data)
            self._changed.notify()

    def close(self, timeout_seconds: float = 1.0) -> None:
        """Write what waits, for at most so long, and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_seconds)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._closing)
                if not self._lines:
                    return
                waiting, self._lines, self._bytes = self._lines, deque(), 0
                untold, self._untold = self._untold, 0
            if untold:
                waiting.append(json.dumps({"event": "log_lines_dropped", "lines": untold}).encode() + b"\n")
            for lost in self._write_all(waiting):
                self._dropped += lost

    def _write_all(self, lines: deque[bytes]) -> list[int]:
        """Write lines; return 1 for each that could not be written: the file is closed, broken or full."""
        lost = []
        for line in lines:
            try:
                while line:
                    line = line[os.write(self._descriptor, line) :]  # noqa: PLW2901 - what is left of it
            except OSError:
                lost.append(1)
        return lost
