"""Threads for work that would hold up the event loop."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from serving.errors import OverloadedError

Result = TypeVar("Result")

_LOGGER = logging.getLogger(__name__)


class DecodePool:
    """Threads that take what waits in one go, with a limit on what may wait.

    A thread that finds more work when it is done goes on with it: one has to be woken only where there was
    none.

    Args:
        threads: how many.
        max_waiting: how many calls may run and wait together.
    """

    def __init__(self, threads: int, max_waiting: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._threads = threads
        self._max_waiting = max_waiting
        self._lock = threading.Lock()
        self._queue: deque[Callable[[], object]] = deque()
        self._running = 0
        self._waiting = 0

    def start(self, work: Callable[[], object]) -> None:
        """Have a thread call `work`, which must not raise.

        Raises:
            OverloadedError: too many calls wait already.
        """
        with self._lock:
            if self._waiting >= self._max_waiting:
                raise OverloadedError(f"{self._waiting} requests wait to be decoded", retry_after_seconds=1)
            self._waiting += 1
            self._queue.append(work)
            wake = self._running < self._threads
            self._running += wake
        if wake:
            self._executor.submit(self._work)

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run `work` in a thread and wait for its result.

        Raises:
            OverloadedError: too many calls wait already.
        """
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def tell() -> None:
            try:
                result = work()
            except Exception as error:
                loop.call_soon_threadsafe(_resolve, done, None, error)
            else:
                loop.call_soon_threadsafe(_resolve, done, result, None)

        self.start(tell)
        result: Result = await done
        return result

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._running -= 1
                    return
                work = self._queue.popleft()
            try:
                work()
            except Exception:
                _LOGGER.exception("work that may not raise did; the thread goes on")
            finally:
                with self._lock:
                    self._waiting -= 1


def _resolve(done: "asyncio.Future[Result | None]", result: Result | None, error: Exception | None) -> None:
    if done.done():  # nobody waits any more
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
