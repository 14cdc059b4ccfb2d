"""Are images scored and named as they were when the thresholds were calibrated? Histograms, exit by exit.

The images that reach an exit depend on the thresholds before it, so a row is compared with those calibration
rows that the row's own thresholds would have let through as far. Budgets may then mix and be corrected
freely: only a change of the images is left. At each exit two histograms are kept, of the scores (bins that
split the calibration's into equal parts) and of the classes answered.

The drift score is the population stability index, Σ (o − e) ln(o / e), of observed and expected shares. By
chance alone it is 1/n + 1/m times a χ² variable with one degree of freedom fewer than bins, for n observed
rows and m calibration rows (so simulations say, down to 10⁻⁵ and to bins of half a row). The limit
is that variable's quantile at `CHANCE`, above `SHIFT`. It falls as rows come together: a window that ends is
judged alone and together with the windows before it, up to `_LONGEST`, so that a large change is seen at once
and a small one when there is enough of it. A difference that m calibration rows cannot show is no alarm.

Pure: no clock, no I/O; safe from any thread. Legend of shapes: N calibration rows, K exits, B bins.
"""

import math
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from serving.events import DriftMeasured, Event, View
from serving.interfaces import ClassArray, ScoreArray, Thresholds
from serving.policy.plan import exits_taken

CHANCE = 1e-6
"""Probability of one comparison to be over its limit by chance.

A window that ends makes up to `_LONGEST` stretches × 2 views × K exits of them, 100 for five exits, which
overlap: at most about one false alarm in 10,000 windows, or 20 million images with windows of 2,000.
"""

SHIFT = 0.002
"""An index that is no alarm, whatever the evidence."""

_LONGEST = 10  # windows: with 2,000 rows each, as good as any number against 5,000 calibration rows
_BINS = 10
_CLASS_BINS = 20  # more classes than this share bins with their neighbours
_GRID = 1e-3  # an edge within a crowd of saturated scores, or beside it, would tell rounding from rounding
_FEWEST_ROWS = 50  # of the calibration: fewer expect nothing in particular
_HALF = 0.5  # a row in every bin that holds none, so that no logarithm is infinite
_BACK = 0.5  # of its limit: a window alone under it is no longer what was alone over it
_PROFILES_KEPT = 256
_TAKEN_TOGETHER = 64  # rows


def stability_index(observed: ScoreArray, expected: ScoreArray) -> ScoreArray:
    """The population stability index of histograms of counts, float64 [..., B] each.

    >>> float(stability_index(np.array([50.0, 50.0]), np.array([500.0, 500.0])))
    0.0
    """
    o, e = (
        (counts + _HALF) / (counts.sum(axis=-1, keepdims=True) + _HALF * counts.shape[-1])
        for counts in (observed, expected)
    )
    return np.asarray(((o - e) * np.log(o / e)).sum(axis=-1))


def alarm_limit(rows: ScoreArray | float, calibration_rows: ScoreArray | float, bins: int) -> ScoreArray:
    """The index that so many rows, against so many of the calibration, do not pass without a shift.

    The quantile of χ² is Wilson and Hilferty's (1931), a few per cent too high at this end. The last
    factor is for bins of few rows, whose index has a longer tail.
    """
    freedom = max(bins - 1, 1)
    spread = 2 / (9 * freedom)
    quantile = freedom * (1 - spread + NormalDist().inv_cdf(1 - CHANCE) * math.sqrt(spread)) ** 3
    inverse_rows = 1 / np.asarray(rows) + 1 / np.asarray(calibration_rows)
    return np.asarray(SHIFT + quantile * inverse_rows * (1 + bins * inverse_rows))


class _Window:
    """Counts at one exit over a stretch of rows."""

    def __init__(self, bins: int) -> None:
        self.observed = np.zeros(bins)
        self.expected = np.zeros(bins)
        self.rows = 0
        self.inverse_support = 0.0


_Seen = tuple[ScoreArray, ClassArray, Sequence[Thresholds]]


class _Exit:
    """The bins of one exit, where the calibration's rows are in them, and what was seen there.

    Args:
        score: float64 [N], the calibration's scores.
        answer: int [N], the classes it answered.
        classes: how many there are.
    """

    def __init__(self, score: ScoreArray, answer: ClassArray, classes: int) -> None:
        self.edges = _edges(score)
        self._class_bins = min(classes, _CLASS_BINS)
        self._classes = classes
        scores = len(self.edges) + 1
        self.bins = scores + self._class_bins
        self.views: dict[View, slice] = {"scores": slice(0, scores), "classes": slice(scores, self.bins)}
        self.places = self.place(score, answer)
        self.window = _Window(self.bins)
        self.before: deque[_Window] = deque(maxlen=_LONGEST)
        self.alone_over = False
        self.waiting: list[_Seen] = []
        self.waiting_rows = 0

    def place(self, score: ScoreArray, answer: ClassArray) -> npt.NDArray[np.int64]:
        """The bins of rows, int64 [2 M]: one of a score and one of a class for each."""
        by_class = np.asarray(answer, np.int64) * self._class_bins // self._classes
        return np.concatenate(
            [np.searchsorted(self.edges, score, side="right"), by_class + len(self.edges) + 1]
        )


class DriftMonitor:
    """Holds the answers of served rows against the calibration's, and says so every `window_rows` at an exit.

    Args:
        model: its name.
        score: float64 [N, K], calibration scores.
        answer: int [N, K], the class that each exit answers.
        classes: how many there are.
        emit: gets `DriftMeasured`.
        window_rows: how many rows make a measurement.
    """

    def __init__(
        self,
        model: str,
        score: ScoreArray,
        answer: ClassArray,
        classes: int,
        *,
        emit: Callable[[Event], None] = lambda event: None,
        window_rows: int = 2000,
    ) -> None:
        self._model = model
        self._score = score
        self._emit = emit
        self._window_rows = window_rows
        self._exits = [_Exit(*columns, classes) for columns in zip(score.T, answer.T, strict=True)]
        self._latest: dict[int, DriftMeasured] = {}
        self._lock = threading.Lock()
        self._profile = lru_cache(maxsize=_PROFILES_KEPT)(self._reached)

    def observe(
        self, exit_index: int, score: ScoreArray, answer: ClassArray, thresholds: Sequence[Thresholds]
    ) -> None:
        """Take in rows that reached an exit.

        Args:
            exit_index: the exit.
            score: float64 [M], their scores there.
            answer: int [M], the classes that it answers.
            thresholds: M threshold vectors, each of K numbers; an empty one is of a row that thresholds did
                not bring here, which says nothing.
        """
        event = None
        with self._lock:
            here = self._exits[exit_index]
            here.waiting.append((score, answer, thresholds))
            here.waiting_rows += len(score)
            # Taking in one row costs as much as many: a few wait for others, but no measurement does.
            if here.waiting_rows < min(_TAKEN_TOGETHER, self._window_rows - here.window.rows):
                return
            self._take_in(exit_index, here)
            if here.window.rows >= self._window_rows:
                event = self._measure(exit_index, here)
        if event is not None:
            self._emit(event)

    def _take_in(self, exit_index: int, here: _Exit) -> None:
        """Count those who wait."""
        scores, answers, vectors = zip(*here.waiting, strict=True)
        here.waiting, here.waiting_rows = [], 0
        thresholds = list(chain.from_iterable(vectors))
        told = np.fromiter(map(bool, thresholds), np.bool_, count=len(thresholds))
        window = here.window
        for vector, rows in Counter(vector for vector in thresholds if vector).items():
            counts, support = self._profile(vector)[exit_index]
            if support < _FEWEST_ROWS:
                told &= np.fromiter((other != vector for other in thresholds), np.bool_, count=len(told))
                continue
            window.expected += rows * counts / support
            window.inverse_support += rows / support
        if told.any():
            places = here.place(np.concatenate(scores)[told], np.concatenate(answers)[told])
            window.observed += np.bincount(places, minlength=here.bins)
            window.rows += int(told.sum())

    def latest(self) -> dict[int, DriftMeasured]:
        """The last measurement of each exit that had one, by the exit's index."""
        with self._lock:
            return dict(self._latest)

    def _measure(self, exit_index: int, here: _Exit) -> DriftMeasured:
        here.before.append(here.window)
        here.window = _Window(here.bins)
        indices, limits, rows = self._stretches(here)
        alone = (indices[0] / limits[0]).max()
        if here.alone_over and alone < _BACK:  # what was plain to see is over: it says nothing of today
            while len(here.before) > 1:
                here.before.popleft()
            indices, limits, rows = indices[:1], limits[:1], rows[:1]
        here.alone_over = bool(alone > 1)
        stretch, view = np.unravel_index(np.argmax(indices / limits), indices.shape)
        index, limit = float(indices[stretch, view]), float(limits[stretch, view])
        before, alarm = self._latest.get(exit_index), index > limit
        event = DriftMeasured(
            self._model,
            exit_index,
            score=index,
            limit=limit,
            alarm=alarm,
            changed=alarm != (before is not None and before.alarm),
            of=list(here.views)[view],
            rows=int(rows[stretch]),
        )
        self._latest[exit_index] = event
        return event

    @staticmethod
    def _stretches(here: _Exit) -> tuple[ScoreArray, ScoreArray, npt.NDArray[np.int64]]:
        """Of the last window, the last two, and so on: indices and limits [W, views], and rows [W]."""
        newest_first = list(reversed(here.before))
        observed = np.cumsum([window.observed for window in newest_first], axis=0)
        expected = np.cumsum([window.expected for window in newest_first], axis=0)
        rows = np.cumsum([window.rows for window in newest_first])
        support = rows / np.cumsum([window.inverse_support for window in newest_first])
        expected *= (support / rows)[:, None]
        views = here.views.values()
        indices = [stability_index(observed[:, view], expected[:, view]) for view in views]
        limits = [alarm_limit(rows, support, view.stop - view.start) for view in views]
        return np.stack(indices, axis=1), np.stack(limits, axis=1), rows

    def _reached(self, thresholds: Thresholds) -> list[tuple[ScoreArray, int]]:
        """For each exit, the histogram of the calibration rows that reach it, and how many they are."""
        exits = exits_taken(self._score, np.asarray(thresholds))
        found = []
        for exit_index, here in enumerate(self._exits):
            reach = exits >= exit_index
            places = here.places[np.tile(reach, 2)]
            found.append((np.bincount(places, minlength=here.bins).astype(np.float64), int(reach.sum())))
        return found


def _edges(column: ScoreArray) -> ScoreArray:
    """The edges between bins of scores [N]: quantiles, moved down to the nearest half of a grid's cell."""
    quantiles = np.quantile(column, np.linspace(0, 1, _BINS + 1)[1:-1])
    edges: ScoreArray = np.unique(np.floor(quantiles / _GRID) - 0.5) * _GRID
    return np.asarray(edges[edges > column.min()])
