"""Hard budgets: what N images of one request may cost together, shared out among them as they turn out.

Every image goes through the first exit; that much is reserved. From then on the whole request is decided on
at each exit at once: given the FLOPs that are left, who goes on? The images with most to gain, where the
gain comes from the calibration. At a price λ per FLOP, an image at exit k with score s is worth

    V_k(s) = max(A_k(s), E[V_{k+1}(S') | s] − λ c_{k+1})

with A_k(s) the chance that exit k is right at scores like s, S' the score that it will have at exit k + 1,
and c_{k+1} the cost of getting there: the optimal stopping problem of a budget that is paid for, solved
backwards over the calibration's scores. Gains from exit to exit are small and single answers are luck, so
chances come from a regression (`serving.chances`), and expectations are smooth in the score. The request
takes the lowest price at which its images are expected to cost no more than is left, and decides anew at the
next exit, when their scores are known. What an image takes is always paid for before it goes on, so the sum
is never exceeded, whatever is expected.

Pure numpy. Legend of shapes: N calibration rows, K exits, F terms, L prices, M images of a request.
"""

from collections.abc import Sequence

import numpy as np

from serving.chances import BoolArray, chance_of_right
from serving.confidence import FloatArray, ScoreArray, Scorer
from serving.decisions import Mask
from serving.rows import Row

_PRICES = 96
_TERMS = 5
_ROWS_PER_TERM = 50
_MOST_ROWS = 10_000  # more are thinned out: they would say the same


class GainTable:
    """What going on from an exit is worth, and costs, at every price; fitted on calibration rows.

    Every expectation given a score is a polynomial in the score's rank among the calibration's, by least
    squares: neighbouring scores lend each other their rows, and no decision hangs on a bin's luck.

    Args:
        score: float64 [N, K], calibration scores.
        correct: bool [N, K], whether the exit's answer is right.
        exit_flops: K costs of leaving at an exit, in FLOPs per image, rising.
    """

    def __init__(self, score: ScoreArray, correct: BoolArray, exit_flops: Sequence[int]) -> None:
        few = slice(None, None, -(-len(score) // _MOST_ROWS))
        score, chance = score[few], chance_of_right(score[few], correct[few])
        exits = score.shape[1]
        step_flops = np.diff(np.asarray(exit_flops, np.float64))
        # From "any gain is worth it" to "a whole right answer is not worth the cheapest step".
        self._prices = np.concatenate(
            [[0.0], np.geomspace(1e-4 / step_flops.sum(), 2 / step_flops.min(), _PRICES - 1)]
        )
        self._sorted = np.sort(score, axis=0)
        self._terms = min(_TERMS, 1 + len(score) // _ROWS_PER_TERM)
        self._gain: list[ScoreArray] = []
        self._flops: list[ScoreArray] = []
        last = self._basis(exits - 1, score[:, -1])
        value = np.repeat((last @ np.linalg.pinv(last) @ chance[:, -1])[None], len(self._prices), 0)
        cost = np.zeros_like(value)
        for exit_index in reversed(range(exits - 1)):
            basis = self._basis(exit_index, score[:, exit_index])
            fit = np.linalg.pinv(basis).T  # [N, F]
            stay = chance[:, exit_index]
            going = value - self._prices[:, None] * step_flops[exit_index]
            gain, ahead_flops = (going - stay) @ fit, (cost + step_flops[exit_index]) @ fit  # [L, F]
            self._gain.insert(0, gain)
            self._flops.insert(0, ahead_flops)
            gain_here = gain @ basis.T  # [L, N], what is known here of what is ahead
            value = stay @ fit @ basis.T + np.maximum(gain_here, 0.0)
            cost = np.where(gain_here > 0, ahead_flops @ basis.T, 0.0)

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
        gain, flops = self.expect(exit_index, score, step_flops)
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

    def expect(self, exit_index: int, score: ScoreArray, step_flops: float) -> tuple[ScoreArray, ScoreArray]:
        """What going on adds to the expected accuracy, the price paid, and costs: float64 [L, M] each."""
        basis = self._basis(exit_index, score)
        flops = np.maximum(self._flops[exit_index] @ basis.T, step_flops)
        return self._gain[exit_index] @ basis.T, flops

    def _basis(self, exit_index: int, score: ScoreArray) -> ScoreArray:
        """Legendre polynomials of the ranks of scores [M] among the calibration's, from -1 to 1: [M, F]."""
        column = self._sorted[:, exit_index]
        rank = np.interp(score, column, np.linspace(-1, 1, len(column))) if len(column) > 1 else 0 * score
        return np.asarray(np.polynomial.legendre.legvander(rank, self._terms - 1))


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
