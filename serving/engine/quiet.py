"""Computations that give way to every other thread: the first runs of a model, while others answer.

Linux has a priority for each thread. A thread may lower its own and not raise it again, so such work has a
thread of its own; threads that are to answer requests later must not be started from it, for they inherit it.
"""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

ResultT = TypeVar("ResultT")
Runs = Callable[[Callable[[], ResultT]], ResultT]

_NICENESS = 15


def lower_priority() -> None:
    """Let the calling thread give way to the others, for good; elsewhere than on Linux nothing changes."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def quietly(call: Callable[[], ResultT]) -> ResultT:
    """Make a call in a thread that gives way to all others, and wait for it.

    Raises:
        Exception: whatever the call does.
    """
    future: Future[ResultT] = Future()

    def work() -> None:
        lower_priority()
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="offramp-quiet", daemon=True).start()
    return future.result()


def at_once(call: Callable[[], ResultT]) -> ResultT:
    """Make a call here."""
    return call()
