"""Limits how often one event is logged: a client that causes it a thousand times a second fills no disk."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

MOST_LINES = 20
WINDOW_SECONDS = 10.0
_MOST_KINDS = 1_000


@dataclass
class _Window:
    began_at: float
    seen: int = 0


class RateLimit(logging.Filter):
    """Lets an event through so many times in a window of time; the rest is counted and reported in one line.

    Args:
        most_lines: in a window.
        window_seconds: its length; it starts with the first line.
        unlimited: a logger that is not limited, such as the access log.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        most_lines: int = MOST_LINES,
        window_seconds: float = WINDOW_SECONDS,
        unlimited: str = "offramp.access",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._most_lines, self._window_seconds = most_lines, window_seconds
        self._unlimited = unlimited
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[tuple[str, str], _Window] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a record is to be logged; the first one after a window says what was left out of it."""
        if record.name == self._unlimited:
            return True
        key = record.name, event_of(record)
        now = self._clock()
        with self._lock:
            window = self._windows.get(key)
            if window is None or now - window.began_at >= self._window_seconds:
                if len(self._windows) >= _MOST_KINDS:
                    self._windows.clear()
                self._windows[key] = _Window(now, 1)
                left_out = 0 if window is None else window.seen - self._most_lines
                if left_out > 0 and isinstance(record.msg, dict):
                    record.msg = record.msg | {"left_out_before": left_out}
                elif left_out > 0:
                    record.msg = f"{record.msg} (and {left_out} times more before, left out)"
                return True
            window.seen += 1
            if window.seen == self._most_lines and isinstance(record.msg, dict):
                record.msg = record.msg | {"more_are_left_out_for_seconds": self._window_seconds}
            return window.seen <= self._most_lines


def event_of(record: logging.LogRecord) -> str:
    """Return what kind of line a record is: its event, or the text that its arguments are put into."""
    return str(record.msg.get("event") if isinstance(record.msg, dict) else record.msg)[:200]
