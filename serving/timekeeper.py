"""The thread that keeps deadlines: it answers what is due even while the worker is busy with a long stage."""

import math
import threading
from typing import Any

from serving.scheduler import Scheduler


class Timekeeper:
    """Asleep until the next deadline of a scheduler's requests; starts at once and ends with `close`.

    Args:
        scheduler: whose `answer_due` it calls.
        name: of the model.
    """

    def __init__(self, scheduler: Scheduler[Any], *, name: str) -> None:
        self._scheduler = scheduler
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=f"offramp-{name}-deadlines", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look again: a request with a deadline was admitted."""
        with self._changed:
            self._changed.notify()

    def close(self) -> None:
        """End the thread; nobody is waited for."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _work(self) -> None:
        while self._wait():
            self._scheduler.answer_due()

    def _wait(self) -> bool:
        """Sleep until somebody is due; False when it is time to end."""
        with self._changed:
            while not self._closed and (seconds := self._scheduler.seconds_to_answer) > 0:
                self._changed.wait(None if seconds == math.inf else min(seconds, threading.TIMEOUT_MAX))
            return not self._closed
