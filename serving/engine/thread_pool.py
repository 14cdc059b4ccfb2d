"""Threads that help with a computation: daemons, so that one that hangs keeps no process from ending."""

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue

_Calls = SimpleQueue[tuple[Callable[[], None], Future[None]] | None]


class DaemonPool:
    """A few threads that take calls; they end when nothing refers to this any more.

    `concurrent.futures.ThreadPoolExecutor` would be waited for at the end of the process.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self._calls: _Calls = SimpleQueue()
        for number in range(count):
            name = f"offramp-helper-{number + 1}"
            threading.Thread(target=_work, args=(self._calls,), name=name, daemon=True).start()
        weakref.finalize(self, _end, self._calls, count).atexit = False

    def submit(self, call: Callable[[], None]) -> Future[None]:
        """Have a thread make a call; what it raises is the future's."""
        future: Future[None] = Future()
        self._calls.put((call, future))
        return future


def _work(calls: _Calls) -> None:
    while (taken := calls.get()) is not None:
        call, future = taken
        try:
            call()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(None)
        del taken, call, future  # while it waits, a thread holds nothing


def _end(calls: _Calls, count: int) -> None:
    for _ in range(count):
        calls.put(None)
