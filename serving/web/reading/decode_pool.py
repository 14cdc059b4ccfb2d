"""Threads for work that would hold up the event loop, and turns between those who wait for it."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from serving.errors import OverloadedError

Result = TypeVar("Result")
Step = Callable[[], bool]
"""Does a part of some work; True where there is more to do."""
Sizing = Callable[[float], int]
"""Seconds of processor time of all work so far -> how many threads there should be."""
REVIEW_SECONDS = 1.0

_LOGGER = logging.getLogger(__name__)


class DecodePool:
    """Threads that take queued work in turn, a step of each piece, with a limit on the queue.

    Work with more to do after a step goes to the end of the queue: a long list does not keep a single image
    waiting. A thread that finds more work after a step goes on with it: a thread is woken only if the queue
    was empty. The threads are daemons, and an error of the work never ends one.

    Args:
        threads: how many, at first.
        max_waiting: how many pieces of work may run and wait together.
        clock: seconds, monotonic.
        sizing: asked every second, while there is work, how many threads there should be, 1 or more; None
            where that never changes.
        processor: seconds of processor time of the thread that calls it.

    Raises:
        RuntimeError: the system lets no more threads start.
    """

    def __init__(
        self,
        threads: int,
        max_waiting: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        sizing: Sizing | None = None,
        processor: Callable[[], float] = time.thread_time,
    ) -> None:
        self._max_waiting = max_waiting
        self._clock, self._processor, self._sizing = clock, processor, sizing
        self._spent = 0.0
        self._review_at = clock() + REVIEW_SECONDS
        self._changed = threading.Condition()
        self._queue: deque[Step] = deque()
        self._waiting = self._busy = 0
        self._progress_at = clock()
        self._threads = self._wanted = 0
        self._closed = False
        self._resize(threads)

    @property
    def threads(self) -> int:
        """How many threads there are."""
        return self._threads

    @property
    def stalled_seconds(self) -> float:
        """For how long work has waited or run and no step was finished; 0 where there is none."""
        with self._changed:
            return self._clock() - self._progress_at if self._waiting else 0.0

    @property
    def waiting(self) -> int:
        """Number of pieces of work that run or wait."""
        return self._waiting

    def start(self, step: Step) -> None:
        """Have threads call `step`, which should not raise, until there is no more to do.

        Raises:
            OverloadedError: too many pieces of work wait already.
        """
        with self._changed:
            if self._waiting >= self._max_waiting:
                raise OverloadedError(f"{self._waiting} requests wait to be decoded", retry_after_seconds=1)
            if not self._waiting:
                self._progress_at = self._clock()
            self._waiting += 1
            self._queue.append(step)
            if self._busy < self._threads:
                self._changed.notify()

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run `work` in a thread and wait for its result.

        Raises:
            OverloadedError: too many pieces of work wait already.
        """
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def tell() -> bool:
            try:
                result = work()
            except BaseException as error:  # the waiting caller gets any error
                loop.call_soon_threadsafe(_resolve, done, None, error)
            else:
                loop.call_soon_threadsafe(_resolve, done, result, None)
            return False

        self.start(tell)
        result: Result = await done
        return result

    def close(self) -> None:
        """Let the threads end once no work waits; without this they end with the process."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _resize(self, threads: int) -> None:
        """Start threads that are missing, and let those that are too many end after their step.

        Raises:
            RuntimeError: the system lets no more threads start.
        """
        with self._changed:
            self._wanted = threads
            self._changed.notify_all()
            while self._threads < threads:
                threading.Thread(target=self._work, name=f"decode-{self._threads + 1}", daemon=True).start()
                self._threads += 1

    def _review(self) -> None:
        """Have as many threads as there should be by now."""
        assert self._sizing is not None  # noqa: S101 - nothing is due without
        try:
            self._resize(self._sizing(self._spent))
        except Exception:
            _LOGGER.exception("the number of threads that decode stays as it is")

    def _work(self) -> None:
        used = self._processor()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closed or self._threads > self._wanted)
                if self._threads > self._wanted or not self._queue:
                    self._threads -= 1
                    self._changed.notify()  # it may have been woken for work
                    return
                step = self._queue.popleft()
                self._busy += 1
            more = due = False
            try:
                more = step()
            except BaseException:
                _LOGGER.exception("work that may not raise did; the thread goes on")
            finally:
                with self._changed:
                    self._busy -= 1
                    self._progress_at = now = self._clock()
                    before, used = used, self._processor()
                    self._spent += used - before
                    if self._sizing is not None and now >= self._review_at:
                        self._review_at, due = now + REVIEW_SECONDS, True
                    if more:
                        self._queue.append(step)
                    else:
                        self._waiting -= 1
            del step  # while it waits, a thread holds nothing
            if due:
                self._review()


def _resolve(
    done: "asyncio.Future[Result | None]", result: Result | None, error: BaseException | None
) -> None:
    if done.done():  # the caller has gone
        return
    if error is None:
        done.set_result(result)
    elif isinstance(error, Exception) and not isinstance(error, StopIteration):
        done.set_exception(error)
    else:
        done.set_exception(RuntimeError(f"{type(error).__name__}: {error}"))
