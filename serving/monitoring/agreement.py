"""Do early answers agree with the last exit as often as they did on the calibration? Per exit, of late.

Of the calibration rows that leave at an exit under a request's thresholds, so many have the answer that the
last exit gives them. Images that were run to the end are held against that: the alarm is raised where so few
agreements, among the last `WINDOW` watched images of an exit, would come up by chance less than `CHANCE`,
even if the true share were at the low end of what the calibration rows allow (Wilson's bound).

Pure: no clock, no I/O; safe from any thread. Legend of shapes: N calibration rows, K exits.
"""

import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from serving.events import AgreementMeasured, Event
from serving.interfaces import ClassArray, ScoreArray
from serving.monitoring.drift import CHANCE
from serving.policy.plan import exits_taken
from serving.policy.risk import binomial_tail

WINDOW = 500
"""Number of an exit's latest shadowed images that count."""
_FEWEST = 50  # watched images, or calibration rows: fewer prove nothing
_SIGMAS = 4.0  # of the calibration's own luck
_PROFILES_KEPT = 256


@dataclass(frozen=True, slots=True)
class _Shadowed:
    """One image: whether the exits agreed, the share expected, and one over the rows that this rests on."""

    agreed: bool
    expected: float
    inverse_rows: float


class AgreementMonitor:
    """Holds the agreement of watched images against the calibration's, exit by exit.

    Args:
        model: its name.
        score: float64 [N, K], calibration scores.
        answer: int [N, K], the class that each exit answers.
        emit: gets `AgreementMeasured` with every image once there are enough.
    """

    def __init__(
        self,
        model: str,
        score: ScoreArray,
        answer: ClassArray,
        emit: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self._model = model
        self._score = score
        self._agrees = answer == answer[:, -1:]
        self._emit = emit
        self._windows: list[deque[_Shadowed]] = [deque(maxlen=WINDOW) for _ in score.T]
        self._latest: dict[int, AgreementMeasured] = {}
        self._lock = threading.Lock()
        self._expected = lru_cache(maxsize=_PROFILES_KEPT)(self._profile)

    def observe(self, exit_index: int, agreed: bool, thresholds: tuple[float, ...]) -> None:
        """Take in an image that left at an exit, and was run to the end.

        Args:
            exit_index: where it left.
            agreed: whether the last exit names the same class.
            thresholds: what made it leave there; none, if it was something else, which says nothing.
        """
        if not thresholds:
            return
        with self._lock:
            expected, rows = self._expected(thresholds)[exit_index]
            if rows < _FEWEST:
                return
            window = self._windows[exit_index]
            window.append(_Shadowed(agreed, expected, 1 / rows))
            if len(window) < _FEWEST:
                return
            event = self._measure(exit_index, window)
        self._emit(event)

    def latest(self) -> dict[int, AgreementMeasured]:
        """The last measurement of each exit that had one, by the exit's index."""
        with self._lock:
            return dict(self._latest)

    def _measure(self, exit_index: int, window: deque[_Shadowed]) -> AgreementMeasured:
        images, agreed = len(window), sum(watched.agreed for watched in window)
        expected = sum(watched.expected for watched in window) / images
        rows = images / sum(watched.inverse_rows for watched in window)
        least = lower_end(expected, rows)
        alarm = agreed < images * least and binomial_tail(agreed, images, least) < CHANCE
        before = self._latest.get(exit_index)
        event = AgreementMeasured(
            self._model,
            exit_index,
            share=agreed / images,
            expected=expected,
            alarm=alarm,
            changed=alarm != (before is not None and before.alarm),
            images=images,
        )
        self._latest[exit_index] = event
        return event

    def _profile(self, thresholds: tuple[float, ...]) -> list[tuple[float, int]]:
        """For each exit, of the calibration rows that leave there, the share that agrees, and how many."""
        exits = exits_taken(self._score, np.asarray(thresholds))
        found = []
        for exit_index in range(self._score.shape[1]):
            agrees = self._agrees[exits == exit_index, exit_index]
            found.append((float(agrees.mean()) if agrees.size else 1.0, int(agrees.size)))
        return found


def lower_end(share: float, rows: float) -> float:
    """The lowest true share that so many rows with this share found leave open (Wilson, 1927).

    >>> round(lower_end(0.9, 1000), 3)
    0.856
    """
    square = _SIGMAS**2
    middle = share + square / (2 * rows)
    half = _SIGMAS * math.sqrt(share * (1 - share) / rows + square / (4 * rows**2))
    return (middle - half) / (1 + square / rows)
