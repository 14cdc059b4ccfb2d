"""Brings news from other threads into the event loop, many at a time."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress


class LoopMailbox:
    """Calls that other threads want made in an event loop.

    A worker answers a batch of requests in a row. The loop is woken for the first of them alone, and finds
    the others when it looks.

    Args:
        loop: where the calls are made.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._calls: deque[Callable[[], object]] = deque()
        self._woken = False

    def post(self, call: Callable[[], object]) -> None:
        """Have `call` made in the loop, in the order of posting; from any thread.

        Once the loop is closed, no news are delivered.
        """
        self._calls.append(call)
        if not self._woken:
            self._woken = True
            with suppress(RuntimeError):  # the loop is closed
                self.loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._woken = False  # before looking: what is posted from now on wakes the loop again
        while self._calls:
            self._calls.popleft()()
