"""Changes to the models wait for each other in threads of their own, and not without end."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from serving.errors import OverloadedError
from serving.repository.in_thread import ResultT, in_thread

MOST_WAITING = 16
_RETRY_SECONDS = 5.0


class ChangeQueue:
    """Starts changes, and counts those that are not over."""

    def __init__(self) -> None:
        self._counting = threading.Lock()
        self._waiting = 0

    def start(self, change: Callable[[], ResultT]) -> "Future[ResultT]":
        """Make a change in a thread of its own.

        Raises:
            OverloadedError: too many wait.
        """
        with self._counting:
            if self._waiting >= MOST_WAITING:
                raise OverloadedError(
                    f"{self._waiting} changes to the models wait: try again later", _RETRY_SECONDS
                )
            self._waiting += 1
        future = in_thread("offramp-repository", change)
        future.add_done_callback(self._count_one_less)
        return future

    def _count_one_less(self, _: "Future[Any]") -> None:
        with self._counting:
            self._waiting -= 1
