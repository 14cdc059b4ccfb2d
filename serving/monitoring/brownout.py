"""Brown-out: while too much waits, budgets are lowered step by step, so that nobody has to be refused.

A queue that grows has two cures: turn requests away, or make them cheaper. With early exits the second one
costs a little accuracy and no answer. Requests fall into three classes. Those of `low` pay first, down to a
floor, then those of `normal`; those of `high` never do. Budgets come back in the opposite order.

Overload is told from a burst by the queue that *stands*: the least that waited over a short interval, as in
CoDel (Nichols and Jacobson, *Controlling Queue Delay*, ACM Queue 2012). A batch that drains before the next
one comes leaves none. CoDel measures waiting times and drops packets; here images are counted, since it is
their number that a full queue refuses, and budgets are lowered.

The controller has a dead time: images that were admitted keep the thresholds that they were admitted with, so
a lower budget shows only once the queue before it is gone. Steps down are therefore larger the more waits.
Steps up wait for a calm, and for twice as long a calm whenever the one before proved too short.

Pure: the clock is injected; safe from any thread.
"""

import math
import threading
from collections.abc import Callable, Mapping, Sequence

from serving.events import BudgetsLowered, Listener

STEPS = 8
"""How many steps take a class from its whole budgets to the floor; each is the same factor."""

_LOWERED = ("low", "normal")  # the order in which classes pay
_INTERVAL_SECONDS = 0.1
_MOST_STEPS_AT_ONCE = 4
_CALM = 0.5  # of the mark: between this and the mark nothing changes
_CALM_SECONDS = 1.0
_LONGEST_CALM = 16.0
_SEEN_SECONDS = 10.0  # a class that sent nothing for so long has nothing to give


class BrownOut:
    """Says what share of its budget a request of each class gets.

    Args:
        model: its name.
        waiting: how many images wait now.
        mark: how many may stand waiting before budgets are lowered, 1 or more.
        floor: the least share of its budgets that a class keeps, in (0, 1].
        clock: seconds from any origin, never going back.
        emit: gets `BudgetsLowered` for each class whose share changes.
    """

    def __init__(
        self,
        model: str,
        *,
        waiting: Callable[[], int],
        mark: float,
        floor: float,
        clock: Callable[[], float],
        emit: Listener = lambda event: None,
    ) -> None:
        self._model, self._waiting, self._clock, self._emit = model, waiting, clock, emit
        self._mark, self._floor = max(1.0, mark), floor
        self._lock = threading.Lock()
        self._level = 0  # steps taken, by `low` up to STEPS and by `normal` beyond
        self._looked_at = self._interval_at = self._calm_at = clock()
        self._raised_at = -math.inf
        self._calm_seconds = _CALM_SECONDS
        self._standing = math.inf
        self._seen_at = dict.fromkeys(_LOWERED, -math.inf)

    def share(self, priority: str) -> float:
        """The share of its budget that a request of a class gets now, from the floor to 1."""
        with self._lock:
            now = self._clock()
            if priority in self._seen_at:
                self._seen_at[priority] = now
            told = self._look(now)
            share = self._share(priority)
        self._tell(told)
        return share

    def look(self) -> None:
        """Notice how much waits: budgets come back also while nobody asks."""
        with self._lock:
            told = self._look(self._clock())
        self._tell(told)

    def shares(self) -> Mapping[str, float]:
        """The share of each class, as of the last look."""
        return {priority: self._share(priority) for priority in ("high", *reversed(_LOWERED))}

    def _share(self, priority: str) -> float:
        if not self._level or priority not in _LOWERED:
            return 1.0
        steps = min(max(self._level - STEPS * _LOWERED.index(priority), 0), STEPS)
        return float(self._floor ** (steps / STEPS))

    def _look(self, now: float) -> Sequence[BudgetsLowered]:
        """Take a step if one is due, and return what is to be told."""
        self._standing = min(self._standing, self._waiting())
        idle_seconds, self._looked_at = now - self._looked_at, now
        if now - self._interval_at < _INTERVAL_SECONDS:
            return ()
        before = self.shares()
        # Who was not looked at for long was not asked for long: what waited could only drain.
        pressure = (
            0.0 if idle_seconds > _CALM_SECONDS and not self._waiting() else self._standing / self._mark
        )
        self._interval_at, self._standing = now, math.inf
        if pressure >= _CALM:
            self._calm_at = now
        if pressure >= 1:
            self._lower(now, pressure)
        elif pressure < _CALM and self._level:
            self._raise(now, idle_seconds)
        return [
            BudgetsLowered(self._model, priority, share)
            for priority, share in self.shares().items()
            if share != before[priority]
        ]

    def _lower(self, now: float, pressure: float) -> None:
        if now - self._raised_at < 2 * self._calm_seconds:  # the calm was too short
            self._calm_seconds = min(2 * self._calm_seconds, _LONGEST_CALM)
            self._raised_at = -math.inf
        paying = [now - self._seen_at[priority] < _SEEN_SECONDS for priority in _LOWERED]
        if not any(paying):
            return
        if not paying[0]:  # nothing to be had from `low`
            self._level = max(self._level, STEPS)
        most = STEPS * (2 if paying[1] else 1)
        self._level = min(self._level + min(int(2 * pressure), _MOST_STEPS_AT_ONCE), max(most, self._level))

    def _raise(self, now: float, idle_seconds: float) -> None:
        calm_seconds = max(now - self._calm_at, idle_seconds)
        steps = int(calm_seconds / self._calm_seconds)
        if not steps:
            return
        self._level = max(0, self._level - steps)
        if 0 < self._level <= STEPS and now - self._seen_at["low"] >= _SEEN_SECONDS:
            self._level = 0
        self._calm_at = self._raised_at = now
        if not self._level:
            self._calm_seconds, self._raised_at = _CALM_SECONDS, -math.inf

    def _tell(self, events: Sequence[BudgetsLowered]) -> None:
        for event in events:
            self._emit(event)
