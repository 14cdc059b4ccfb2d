"""Are images scored as they were when the thresholds were calibrated? Histograms per exit, window by window.

Which images reach an exit depends on the thresholds before it, so a row's score is held against those of the
calibration rows that the row's own thresholds would have let through as far. Budgets may then mix and be
corrected as they like: what is left is a change of the images.

The drift score is the population stability index, Σ (o − e) ln(o / e), over bins that split the
calibration's scores at the exit into equal parts; o and e are the observed and the expected shares of a
window. By custom 0.1 is a shift worth a look and 0.25 a large one; a server sees enough rows to tell half of
the first. Chance alone makes the index about (B − 1) (1/n + 1/m) for n observed rows, m calibration rows and
B bins (a χ² variable with B − 1 degrees of freedom, scaled), so the limit is `SHIFT` above what chance does
at six standard deviations: an alarm is a fact about the images, not luck.

Pure: no clock, no I/O; safe from any thread. Legend of shapes: N calibration rows, K exits, B bins.
"""

import math
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from serving.confidence import ScoreArray
from serving.events import DriftMeasured, Event
from serving.thresholds import exits_taken

SHIFT = 0.05
"""The index of the smallest shift that is worth an alarm."""
_BINS = 10
_GRID = 1e-3  # an edge within a crowd of saturated scores, or beside it, would tell rounding from rounding
_SIGMAS = 6.0
_FEWEST_ROWS = 50  # of the calibration: fewer expect nothing in particular
_HALF = 0.5  # a row in every bin that holds none, so that no logarithm is infinite
_PROFILES_KEPT = 256

Thresholds = tuple[float, ...]


def stability_index(observed: ScoreArray, expected: ScoreArray) -> float:
    """The population stability index of two histograms of counts, float64 [B] each.

    >>> stability_index(np.array([50.0, 50.0]), np.array([500.0, 500.0]))
    0.0
    """
    o = (observed + _HALF) / (observed.sum() + _HALF * len(observed))
    e = (expected + _HALF) / (expected.sum() + _HALF * len(expected))
    return float(((o - e) * np.log(o / e)).sum())


def alarm_limit(rows: float, calibration_rows: float, bins: int) -> float:
    """The index that so many rows, against so many of the calibration, do not pass without a shift."""
    chance = (bins - 1 + _SIGMAS * math.sqrt(2 * (bins - 1))) * (1 / rows + 1 / calibration_rows)
    return SHIFT + chance


class _Window:
    """What was seen at one exit since the last measurement."""

    def __init__(self, bins: int) -> None:
        self.observed = np.zeros(bins)
        self.expected = np.zeros(bins)
        self.rows = 0
        self.inverse_support = 0.0


class DriftMonitor:
    """Holds the scores of served rows against the calibration's, and says so every `window_rows` at an exit.

    Args:
        model: its name.
        score: float64 [N, K], calibration scores.
        emit: gets `DriftMeasured`.
        window_rows: how many rows make a measurement.
    """

    def __init__(
        self,
        model: str,
        score: ScoreArray,
        *,
        emit: Callable[[Event], None] = lambda event: None,
        window_rows: int = 2000,
    ) -> None:
        self._model = model
        self._score = score
        self._emit = emit
        self._window_rows = window_rows
        self._edges = [_edges(column) for column in score.T]
        self._places = [
            np.searchsorted(edges, column, side="right")
            for edges, column in zip(self._edges, score.T, strict=True)
        ]
        self._windows = [_Window(len(edges) + 1) for edges in self._edges]
        self._latest: dict[int, DriftMeasured] = {}
        self._lock = threading.Lock()
        self._profile = lru_cache(maxsize=_PROFILES_KEPT)(self._reached)

    def observe(self, exit_index: int, score: ScoreArray, thresholds: Sequence[Thresholds]) -> None:
        """Take in rows that reached an exit.

        Args:
            exit_index: the exit.
            score: float64 [M], their scores there.
            thresholds: M threshold vectors, each of K numbers; an empty one is of a row that thresholds did
                not bring here, which says nothing.
        """
        told = np.fromiter(map(bool, thresholds), np.bool_, count=len(thresholds))
        if not told.any():
            return
        event = None
        with self._lock:
            window = self._windows[exit_index]
            for vector, rows in Counter(vector for vector in thresholds if vector).items():
                counts = self._profile(vector)[exit_index]
                support = counts.sum()
                if support < _FEWEST_ROWS:
                    told &= np.fromiter((other != vector for other in thresholds), np.bool_, count=len(told))
                    continue
                window.expected += rows * counts / support
                window.inverse_support += rows / support
            place = np.searchsorted(self._edges[exit_index], score[told], side="right")
            window.observed += np.bincount(place, minlength=len(window.observed))
            window.rows += len(place)
            if window.rows >= self._window_rows:
                event = self._measure(exit_index, window)
        if event is not None:
            self._emit(event)

    def latest(self) -> dict[int, DriftMeasured]:
        """The last measurement of each exit that had one, by the exit's index."""
        with self._lock:
            return dict(self._latest)

    def _measure(self, exit_index: int, window: _Window) -> DriftMeasured:
        bins = len(window.observed)
        index = stability_index(window.observed, window.expected)
        limit = alarm_limit(window.rows, window.rows / window.inverse_support, bins)
        before = self._latest.get(exit_index)
        alarm = index > limit
        event = DriftMeasured(
            self._model, exit_index, index, limit, alarm, alarm != (before is not None and before.alarm)
        )
        self._latest[exit_index] = event
        self._windows[exit_index] = _Window(bins)
        return event

    def _reached(self, thresholds: Thresholds) -> list[ScoreArray]:
        """For each exit, the histogram of the calibration rows that reach it under these thresholds."""
        exits = exits_taken(self._score, np.asarray(thresholds))
        return [
            np.bincount(place[exits >= exit_index], minlength=len(edges) + 1).astype(np.float64)
            for exit_index, (place, edges) in enumerate(zip(self._places, self._edges, strict=True))
        ]


def _edges(column: ScoreArray) -> ScoreArray:
    """The edges between bins of scores [N]: quantiles, moved down to the nearest half of a grid's cell."""
    quantiles = np.quantile(column, np.linspace(0, 1, _BINS + 1)[1:-1])
    edges: ScoreArray = np.unique(np.floor(quantiles / _GRID) - 0.5) * _GRID
    return np.asarray(edges[edges > column.min()])
