"""Which confidence lets a row leave at which exit, so that a stream of rows costs what its budget says.

MSDNet's budgeted batch classification (Huang et al., ICLR 2018, section 4): a parameter q sets the share of
rows that leaves at each exit, and calibration rows turn the shares into thresholds. Deviations, which make it
solvable for any budget and monotone in the budget:

- q is not taken from a grid of 40 values: a table of thresholds over q in (0, infinity) is made once, and a
  budget is met by bisection along the line that joins its rows.
- Exit k takes the share 1 / (q^0 + q^1 + ... + q^(K-1-k)) of the rows *still there*. That is the share q^k of
  all rows, but it does not pile up what rounding left behind onto the last exit.
- A threshold lies between two neighbouring scores, in proportion to the part of a row that is asked for.
- From q = 1, where all exits take the same share, a threshold may only fall as q falls and only rise as q
  rises. The plain thresholds wobble where few rows are left, so that a larger budget could send an image out
  earlier.

Pure numpy. Legend of shapes: N calibration rows, K exits, R rows of the table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from serving.confidence import TIE, ScoreArray
from serving.errors import BudgetError

FIGURE_GRID = tuple(step / 20 for step in range(1, 41))
"""The values of q at which MSDNet's figures are drawn."""

NOBODY_LEAVES = 1 + 16 * TIE
"""A threshold above every score."""
EVERYBODY_LEAVES = -16 * TIE
"""A threshold below every score; finite, unlike the last exit's, so that one can interpolate towards it."""

_TABLE_STEPS = 80  # on each side of q = 1
_BISECTIONS = 50  # the step left over is 2^-50 of one table step: the midpoints stay exact in float64

ExitArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Plan:
    """What a budget buys: thresholds, and what they do to the calibration rows.

    Attributes:
        budget_flops: what an image may cost on average, in FLOPs.
        thresholds: float64 [K]; a row leaves at the first exit whose threshold its score reaches. The last
            one is minus infinity.
        shares: float64 [K], the share of the rows that leaves at each exit; they sum to 1.
        expected_flops: the mean FLOPs per image, never above the budget.
        expected_accuracy: the share of the rows that is answered rightly.
    """

    budget_flops: float
    thresholds: ScoreArray
    shares: ScoreArray
    expected_flops: float
    expected_accuracy: float


def exits_taken(score: ScoreArray, thresholds: ScoreArray) -> ExitArray:
    """The index of the exit at which each row leaves.

    Args:
        score: float64 [N, K].
        thresholds: float64 [K]; the last is taken as minus infinity, since nobody can stay.

    Returns:
        int64 [N] within [0, K).
    """
    exits = np.full(len(score), score.shape[1] - 1, np.int64)
    for exit_index in reversed(range(score.shape[1] - 1)):
        exits[score[:, exit_index] >= thresholds[exit_index]] = exit_index
    return exits


def geometric_thresholds(score: ScoreArray, q: float) -> ScoreArray:
    """MSDNet's thresholds at one q, before they are made monotone in q.

    Args:
        score: float64 [N, K], calibration scores.
        q: the ratio of the shares of neighbouring exits; under 1, most rows leave early.

    Returns:
        float64 [K], the last minus infinity.
    """
    return _cut(np.asfortranarray(score), np.argsort(-score, axis=0, kind="stable"), q)


def judge(
    score: ScoreArray,
    correct: npt.NDArray[np.bool_],
    exit_flops: Sequence[int],
    thresholds: ScoreArray,
    budget_flops: float,
) -> Plan:
    """What thresholds, from wherever they come, do to rows of which the truth is known.

    Args:
        score: float64 [N, K].
        correct: bool [N, K], whether the exit's answer is right.
        exit_flops: K costs of leaving at an exit, in FLOPs per image, every earlier head included.
        thresholds: float64 [K].
        budget_flops: the budget they are meant for, in FLOPs per image.
    """
    exits = exits_taken(score, thresholds)
    counts = np.bincount(exits, minlength=score.shape[1])
    frozen = thresholds.copy()
    frozen.setflags(write=False)
    return Plan(
        budget_flops=float(budget_flops),
        thresholds=frozen,
        shares=counts / len(exits),
        expected_flops=int(counts @ np.asarray(exit_flops, np.int64)) / len(exits),
        expected_accuracy=float(correct[np.arange(len(exits)), exits].mean()),
    )


class GeometricPolicy:
    """MSDNet's heuristic, solved for any budget (see the module).

    The thresholds, and with them the exit of every row, only ever rise with the budget. The expected cost on
    the calibration rows is at most the budget, and less only by what one calibration row can add to it.

    Args:
        score: float64 [N, K], calibration scores within [0, 1 + `TIE`).
        correct: bool [N, K], whether the exit's answer is right.
        exit_flops: K costs of leaving at an exit, in FLOPs per image, rising.

    Raises:
        ValueError: the shapes disagree, a score is out of range, or the costs do not rise.
    """

    def __init__(self, score: ScoreArray, correct: npt.NDArray[np.bool_], exit_flops: Sequence[int]) -> None:
        if score.shape != correct.shape or score.shape[1:] != (len(exit_flops),) or not score.size:
            raise ValueError(
                f"expected scores and correctness of one shape [N > 0, {len(exit_flops)} exits], "
                f"found {score.shape} and {correct.shape}"
            )
        if not (score.min() >= 0 and score.max() < 1 + TIE):  # written so that a NaN fails it
            raise ValueError(f"expected scores within [0, 1], found {score.min()} to {score.max()}")
        if any(later <= earlier for earlier, later in pairwise(exit_flops)):
            raise ValueError(f"expected costs that rise from exit to exit, found {list(exit_flops)}")
        self._score = np.asfortranarray(score)  # read column by column
        self._correct = correct
        self._exit_flops = np.asarray(exit_flops, np.int64)
        self._table = _monotone_table(self._score)
        self._table_flops = np.array([self._mean_flops(thresholds) for thresholds in self._table])

    def plan(self, budget_flops: float) -> Plan:
        """The thresholds for a budget in FLOPs per image.

        Raises:
            BudgetError: the budget is under the cheapest exit.
        """
        if not budget_flops >= self._exit_flops[0]:
            raise BudgetError(
                f"a budget of {budget_flops:g} FLOPs per image is under the cheapest exit, "
                f"exit 1, which costs {self._exit_flops[0]} FLOPs"
            )
        thresholds = self._thresholds(budget_flops)
        return judge(self._score, self._correct, self._exit_flops.tolist(), thresholds, budget_flops)

    def _thresholds(self, budget_flops: float) -> ScoreArray:
        if budget_flops == self._exit_flops[0]:
            # Nothing is left over for a served row that is less sure than any calibration row.
            return np.asarray(self._table[0])
        row = int(np.searchsorted(self._table_flops, budget_flops, side="right")) - 1
        if row == len(self._table) - 1:
            return np.asarray(self._table[-1])
        return self._between(row, budget_flops)

    def _between(self, row: int, budget_flops: float) -> ScoreArray:
        """The furthest point from one table row to the next that the budget allows, by bisection."""
        near, far = self._table[row], self._table[row + 1]
        exits_near, exits_far = exits_taken(self._score, near), exits_taken(self._score, far)
        # Exits only rise on the way, so a row that ends where it starts never moves: the others are few.
        moves = exits_near != exits_far
        moving = self._score[moves]
        resting_flops = int(self._exit_flops[exits_near[~moves]].sum())
        low, high = 0.0, 1.0
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            exits = exits_taken(moving, _interpolate(near, far, middle))
            total_flops = resting_flops + int(self._exit_flops[exits].sum())
            if total_flops / len(self._score) <= budget_flops:
                low = middle
            else:
                high = middle
        return _interpolate(near, far, low)

    def _mean_flops(self, thresholds: ScoreArray) -> float:
        return int(self._exit_flops[exits_taken(self._score, thresholds)].sum()) / len(self._score)


def _interpolate(near: ScoreArray, far: ScoreArray, weight: float) -> ScoreArray:
    """A point between two threshold vectors [K]; never past the far one, which rounding could cause."""
    thresholds = np.full(len(near), -np.inf)
    thresholds[:-1] = np.minimum(near[:-1] + weight * (far[:-1] - near[:-1]), far[:-1])
    return thresholds


def _monotone_table(score: ScoreArray) -> ScoreArray:
    """Thresholds [R, K] that never fall from row to row: all leave, then q rises, then nobody leaves.

    Beyond 1/N and N, q sends less than one row past the first exit, or lets less than one leave before the
    last: there is nothing left to tell apart.
    """
    ranking = np.argsort(-score, axis=0, kind="stable")
    reach = np.log(max(len(score), 2))
    ratios = np.exp(np.linspace(-reach, reach, 2 * _TABLE_STEPS + 1))
    table = np.stack([_cut(score, ranking, q) for q in ratios])
    table[: _TABLE_STEPS + 1] = np.minimum.accumulate(table[_TABLE_STEPS::-1])[::-1]
    table[_TABLE_STEPS:] = np.maximum.accumulate(table[_TABLE_STEPS:])
    first, last = np.full((2, score.shape[1]), [[EVERYBODY_LEAVES], [NOBODY_LEAVES]])
    first[-1] = last[-1] = -np.inf
    return np.vstack([first, table, last])


def _cut(score: ScoreArray, ranking: ExitArray, q: float) -> ScoreArray:
    """The plain thresholds [K] at one q; `ranking` sorts each column of the scores from high to low."""
    rows, exits = score.shape
    thresholds = np.full(exits, -np.inf)
    stays = np.ones(rows, np.bool_)
    for exit_index in range(exits - 1):
        order = ranking[:, exit_index]
        still_there = order[stays[order]]
        share = 1 / sum(q**step for step in range(exits - exit_index))
        thresholds[exit_index] = _boundary(score[still_there, exit_index], share * len(still_there))
        stays &= score[:, exit_index] < thresholds[exit_index]
    return thresholds


def _boundary(descending: ScoreArray, count: float) -> float:
    """The threshold that `count` of the scores reach: its whole part exactly, its fraction by interpolation.

    Args:
        descending: float64 [M], sorted from high to low.
        count: how many are to reach it, within [0, M].
    """
    if not len(descending):
        return EVERYBODY_LEAVES
    whole = min(int(count), len(descending))
    above = descending[whole - 1] if whole else NOBODY_LEAVES
    below = descending[whole] if whole < len(descending) else EVERYBODY_LEAVES
    return float(above + (count - whole) * (below - above))
