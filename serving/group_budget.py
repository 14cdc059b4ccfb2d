"""Hard budgets: what N images of one request may cost together, shared out among them as they turn out.

Every image goes through the first exit; that much is reserved. From then on the whole request is decided on
at each exit at once: given the FLOPs that are left, who goes on? The images with most to gain, where the
gain comes from the calibration. At a price λ per FLOP, an image at exit k with score s is worth

    V_k(s) = max(A_k(s), E[V_{k+1}(S') | s] − λ c_{k+1})

with A_k(s) the accuracy of exit k at scores like s, S' the score that it will have at exit k + 1, and
c_{k+1} the cost of getting there: the optimal stopping problem of a budget that is paid for, solved
backwards over bins of the calibration's scores. The request takes the lowest price at which its images are
expected to cost no more than is left, and decides anew at the next exit, when their scores are known. What
an image takes is always paid for before it goes on, so the sum is never exceeded, whatever is expected.

Pure numpy. Legend of shapes: N calibration rows, K exits, B bins, L prices, M images of a request.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from serving.confidence import FloatArray, ScoreArray, Scorer
from serving.decisions import Mask
from serving.rows import Row

_PRICES = 96
_ROWS_PER_BIN = 100
_MAX_BINS = 50

IntArray = npt.NDArray[np.int64]


class GainTable:
    """What going on from an exit is worth, and costs, at every price; fitted on calibration rows.

    Args:
        score: float64 [N, K], calibration scores.
        correct: bool [N, K], whether the exit's answer is right.
        exit_flops: K costs of leaving at an exit, in FLOPs per image, rising.
    """

    def __init__(self, score: ScoreArray, correct: npt.NDArray[np.bool_], exit_flops: Sequence[int]) -> None:
        rows, exits = score.shape
        bins = int(np.clip(rows // _ROWS_PER_BIN, 1, _MAX_BINS))
        inner = np.linspace(0, 1, bins + 1)[1:-1]
        self._edges = [np.quantile(score[:, exit_index], inner) for exit_index in range(exits)]
        step_flops = np.diff(np.asarray(exit_flops, np.float64))
        # From "any gain is worth it" to "a whole right answer is not worth the cheapest step".
        self._prices = np.concatenate(
            [[0.0], np.geomspace(1e-4 / step_flops.sum(), 2 / step_flops.min(), _PRICES - 1)]
        )
        places = [self._place(score[:, exit_index], exit_index) for exit_index in range(exits)]
        counts = [np.maximum(np.bincount(place, minlength=bins), 1) for place in places]
        value = np.repeat(self._mean(places[-1], counts[-1], correct[:, -1])[None], len(self._prices), 0)
        cost = np.zeros_like(value)
        self.gain = np.zeros((exits - 1, len(self._prices), bins))
        """[K-1, L, B]: what going on adds to the expected accuracy, the price paid."""
        self.flops = np.zeros((exits - 1, len(self._prices), bins))
        """[K-1, L, B]: what an image that goes on is expected to cost from here."""
        for exit_index in reversed(range(exits - 1)):
            here, there = places[exit_index], places[exit_index + 1]
            ahead_value = self._mean(here, counts[exit_index], value[:, there])
            ahead_flops = self._mean(here, counts[exit_index], cost[:, there]) + step_flops[exit_index]
            stay = self._mean(here, counts[exit_index], correct[:, exit_index])
            going = ahead_value - self._prices[:, None] * step_flops[exit_index]
            self.gain[exit_index] = going - stay
            self.flops[exit_index] = ahead_flops
            value = np.maximum(going, stay)
            cost = np.where(going > stay, ahead_flops, 0.0)

    def choose(self, exit_index: int, score: ScoreArray, flops_left: float, step_flops: float) -> Mask:
        """Say who goes on.

        Args:
            exit_index: where the images are, not the last.
            score: float64 [M], their scores there.
            flops_left: what they may cost together from here on.
            step_flops: what one of them costs up to the next exit.

        Returns:
            bool [M]; as many True as `flops_left` pays for, at most.
        """
        place = self._place(score, exit_index)
        gain, flops = self.gain[exit_index][:, place], self.flops[exit_index][:, place]
        totals = np.where(gain > 0, flops, 0.0).sum(axis=1)  # [L]
        affordable = np.flatnonzero(totals <= flops_left)
        price = int(affordable[0]) if affordable.size else len(self._prices) - 1
        # At the price below some more would go: they get what this price leaves over, the best first.
        marginal = max(price - 1, 0)
        certain = gain[price] > 0
        order = np.lexsort((score, -gain[marginal], ~certain))
        wanted = order[(gain[marginal] > 0)[order] | certain[order]]
        expected = np.cumsum(np.where(certain, flops[price], flops[marginal])[wanted])
        count = int(np.searchsorted(expected, flops_left, side="right"))
        count = min(max(count, int(certain.sum())), int(flops_left // step_flops), len(wanted))
        goes_on = np.zeros(len(score), np.bool_)
        goes_on[wanted[:count]] = True
        return goes_on

    def _place(self, score: ScoreArray, exit_index: int) -> IntArray:
        return np.searchsorted(self._edges[exit_index], score, side="right")

    @staticmethod
    def _mean(place: IntArray, counts: IntArray, values: npt.NDArray[np.generic]) -> ScoreArray:
        """Mean of values [N] or [L, N] over the rows of each bin: [B] or [L, B]."""
        if values.ndim == 1:
            return np.bincount(place, weights=values, minlength=len(counts)) / counts
        return np.stack([np.bincount(place, weights=row, minlength=len(counts)) for row in values]) / counts


class GroupDecider:
    """Decides on all rows of one request at once, so that they keep to their sum (see the module).

    The rows come together (the request is submitted with a barrier), and what the request has spent is read
    off the exits that its other rows have left at: nothing is remembered between two decisions.

    Args:
        scorer: scores rows as the table expects it.
        table: what going on is worth.
        exit_flops: K costs of leaving at an exit, in FLOPs per image.
    """

    def __init__(self, scorer: Scorer, table: GainTable, exit_flops: Sequence[int]) -> None:
        self._scorer = scorer
        self._table = table
        self._exit_flops = tuple(exit_flops)

    def __call__(self, stage: int, rows: Sequence[Row], probabilities: FloatArray) -> Mask:
        """Say who leaves: bool [M], from probabilities [M, C] of all rows of a request still there."""
        request = rows[0].request
        spent_flops = sum(self._exit_flops[exit_index] for exit_index in request.exits)
        flops_left = request.size * request.terms.budget_flops - spent_flops
        step_flops = self._exit_flops[stage + 1] - self._exit_flops[stage]
        return ~self._table.choose(stage, self._scorer(stage, probabilities), flops_left, step_flops)
