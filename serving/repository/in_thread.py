"""Work that may take long or hang, in a thread of its own that keeps no process from ending."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

ResultT = TypeVar("ResultT")


def in_thread(name: str, call: Callable[[], ResultT]) -> Future[ResultT]:
    """Make a call in a new daemon thread.

    Args:
        name: of the thread.
        call: anything that it raises is the future's.
    """
    future: Future[ResultT] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name=name, daemon=True).start()
    return future
