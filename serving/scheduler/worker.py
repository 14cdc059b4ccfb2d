"""The thread that runs a scheduler's steps: asleep when there is nothing to do, never polling."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Generic

from serving.errors import ClosedError
from serving.events import Listener, WorkerDied, shielded
from serving.interfaces import Tensors
from serving.scheduler.cores import Cores, CoreShare
from serving.scheduler.request import Constraints, Request, ResultT
from serving.scheduler.scheduler import Scheduler


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
        """End the thread, without waiting for requests."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _work(self) -> None:
        while self._wait():
            self._scheduler.answer_due()

    def _wait(self) -> bool:
        """Sleep until an answer is due; False when it is time to end."""
        with self._changed:
            while not self._closed and (seconds := self._scheduler.seconds_to_answer) > 0:
                self._changed.wait(None if seconds == math.inf else min(seconds, threading.TIMEOUT_MAX))
            return not self._closed


_LOGGER = logging.getLogger(__name__)
MAX_RESTARTS = 3
RESTART_SECONDS = 600.0


class Worker(Generic[ResultT]):
    """Owns a scheduler's `step`; starts at once and ends with `close`.

    If anything but a failing stage or decider is raised in the thread, every request that is in gets a
    `ClosedError`, `WorkerDied` is emitted, and the thread goes on with what comes later. When that happens
    more than `MAX_RESTARTS` times in `RESTART_SECONDS`, it ends, and later submits are refused.

    Args:
        scheduler: no other thread may step it.
        name: of the model.
        emit: gets `WorkerDied`.
        idle: a scheduler whose steps are taken only when the first has nothing to do; given up on closing.
        share: of the cores, the turn of `scheduler`; None where there are no other workers.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        scheduler: Scheduler[ResultT],
        *,
        name: str,
        emit: Listener | None = None,
        idle: Scheduler[Any] | None = None,
        share: CoreShare | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._share = share or Cores(1).share(1)
        self._share.wake = self.wake
        self._clock = clock
        self._busy = False
        self._progress_at = clock()
        self._died_at: deque[float] = deque()
        self._scheduler = scheduler
        self._idle = idle
        self._name = name
        self._emit = shielded(emit)
        self._changed = threading.Condition()
        self._draining = False
        self._stopping = False
        self._dead = False
        self._timekeeper = Timekeeper(scheduler, name=name)
        # A daemon: a process whose owner forgot to close it can still end.
        self._thread = threading.Thread(target=self._live, name=f"offramp-{name}", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs and requests are admitted."""
        return self._thread.is_alive() and not (self._dead or self._draining)

    @property
    def waiting_rows(self) -> int:
        """How many rows were admitted and neither answered nor dropped."""
        return self._scheduler.waiting_rows

    @property
    def stalled_seconds(self) -> float:
        """For how long there has been work and no step of it was finished; 0 where there is none."""
        return self._clock() - self._progress_at if self._busy else 0.0

    def give_up(self) -> None:
        """Fail every request that is in, from any thread; the step that is under way goes on."""
        self._share.rest()
        self._scheduler.fail_all(
            lambda: ClosedError(f"the worker of model {self._name!r} hangs; the request was given up")
        )

    def submit(self, inputs: Tensors, terms: Constraints, *, barrier: bool = False) -> Request[ResultT]:
        """Admit a request and wake the thread (arguments and errors: `Scheduler.submit`)."""
        with self._changed:
            request = self._scheduler.submit(inputs, terms, barrier=barrier)
            self._changed.notify()
        if terms.answer_at < math.inf:
            self._timekeeper.wake()
        return request

    def wake(self) -> None:
        """Wake the thread: there is something to do in idle time."""
        with self._changed:
            self._changed.notify()

    def close(self, drain: bool = True, timeout_seconds: float | None = None) -> None:
        """Admit no request from now on, and end the thread; may be called again.

        Args:
            drain: answer first those who are in; otherwise they get a `ClosedError` at once.
            timeout_seconds: how long to wait for that, for ever if None; those who are left then get a
                `ClosedError`, and a stage that hangs is left behind.
        """
        self._scheduler.close(f"model {self._name!r} is shutting down")
        with self._changed:
            self._draining = True
            self._stopping = self._stopping or not drain
            self._changed.notify()
        if not drain:
            self._abort_closing()
        if threading.current_thread() is self._thread:  # from a future's callback: it cannot wait for itself
            return
        self._thread.join(timeout_seconds)
        if self._thread.is_alive():
            self._stopping = True
            self._share.leave()
            self._abort_closing()
        self._timekeeper.close()
        if self._idle is not None:
            self._idle.abort(self._closed_error)

    def _abort_closing(self) -> None:
        self._scheduler.abort(self._closed_error)

    def _closed_error(self) -> ClosedError:
        return ClosedError(f"model {self._name!r} shut down before it could answer")

    def _live(self) -> None:
        try:
            self._work()
        finally:
            self._share.leave()

    def _work(self) -> None:
        while True:
            try:
                while self._wait_for_work():
                    while not self._stopping and (self._scheduler.step() or self._step_idle()):
                        self._progress_at = self._clock()
                    self._rest()
                return
            except BaseException as error:
                _LOGGER.critical("the worker of model %r died", self._name, exc_info=True)
                if not self._revive(error):
                    return

    def _rest(self) -> None:
        self._busy = False
        self._share.give_back()
        self._share.rest()

    def _wait_for_work(self) -> bool:
        """Sleep until there are rows; False when it is time to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_work or self._draining)
            self._progress_at, self._busy = self._clock(), True
            return self._has_work and not self._stopping

    @property
    def _has_work(self) -> bool:
        return self._scheduler.has_work or (self._has_idle_work and self._share.is_spare)

    @property
    def _has_idle_work(self) -> bool:
        return self._idle is not None and not self._draining and self._idle.has_work

    def _step_idle(self) -> bool:
        """Take one step of what has time; once the model is to close, nothing has."""
        if self._idle is None or not self._has_idle_work:
            return False
        self._share.rest()
        if not self._share.take_spare():
            return False
        try:
            return self._idle.step()
        finally:
            self._share.give_back()

    def _revive(self, error: BaseException) -> bool:
        """Fail all admitted requests, and return whether to go on."""
        now = self._clock()
        self._died_at.append(now)
        while now - self._died_at[0] > RESTART_SECONDS:
            self._died_at.popleft()
        goes_on = len(self._died_at) <= MAX_RESTARTS and not self._draining
        self._dead = not goes_on  # before the callers fail: each finds the model not alive
        self._rest()
        described = f"{type(error).__name__}: {error}"
        self._emit(WorkerDied(self._name, described, goes_on=goes_on))

        def make_error() -> ClosedError:
            advice = "try again" if goes_on else "restart the server"
            closed = ClosedError(f"the worker of model {self._name!r} died ({described}); {advice}")
            closed.__cause__ = error
            return closed

        for scheduler in (self._scheduler, self._idle):
            if scheduler is None:
                continue
            if goes_on:
                scheduler.fail_all(make_error)
                scheduler.reset()
            else:
                scheduler.abort(make_error)
        if not goes_on:
            self._timekeeper.close()
        return goes_on
