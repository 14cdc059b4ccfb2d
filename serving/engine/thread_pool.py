"""Threads that help with a computation: daemons, so that one that hangs keeps no process from ending."""

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue

from serving.engine.quiet import lower_priority

_Calls = SimpleQueue[tuple[Callable[[], None], Future[None]] | None]


class DaemonPool:
    """A few threads that take calls; they end when nothing refers to this any more.

    `concurrent.futures.ThreadPoolExecutor` would be waited for at the end of the process.

    Args:
        count: how many.
        quiet: whether they give way to other threads, until they are woken.
    """

    def __init__(self, count: int, *, quiet: bool = False) -> None:
        self._count = count
        self._start(quiet=quiet)

    def wake(self) -> None:
        """Replace threads that give way to others by such as do not; for a moment when there are no calls."""
        self._finalizer()
        self._start(quiet=False)

    def _start(self, *, quiet: bool) -> None:
        self._calls: _Calls = SimpleQueue()
        for number in range(self._count):
            name = f"offramp-helper-{number + 1}"
            threading.Thread(target=_work, args=(self._calls, quiet), name=name, daemon=True).start()
        self._finalizer = weakref.finalize(self, _end, self._calls, self._count)
        self._finalizer.atexit = False

    def submit(self, call: Callable[[], None]) -> Future[None]:
        """Have a thread make a call; what it raises is the future's."""
        future: Future[None] = Future()
        self._calls.put((call, future))
        return future


def _work(calls: _Calls, quiet: bool) -> None:
    if quiet:
        lower_priority()
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
