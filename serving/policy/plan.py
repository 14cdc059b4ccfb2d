"""Thresholds under which a stream of rows costs its budget.

A policy is a *path*: a table of threshold vectors that never fall from one to the next, from "all rows leave
at once" to "no row leaves early", joined by straight lines. Along it every row's exit only rises, so its
cost does, and a budget is met by bisection. Policies differ in how they build the table
(`serving.policy.registry`).

Pure numpy. Legend of shapes: N calibration rows, K exits, R rows of the table.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64

from serving.errors import BudgetError
from serving.policy.confidence import TIE
from serving.policy.risk import share_interval
from serving.policy.threshold_path import interpolate_path

_BISECTIONS = 50  # the step left over is 2^-50 of one table step: the midpoints stay exact in float64

JudgedOn = Literal["fitted", "held out", "cross-fitted"]


@dataclass(frozen=True, eq=False)
class Plan:
    """The plan of a budget: thresholds, and their effect on labelled rows.

    Attributes:
        budget_flops: what an image may cost on average, in FLOPs.
        thresholds: float64 [K]; a row leaves at the first exit whose threshold its score reaches. The last
            one is minus infinity.
        shares: float64 [K], the share of the rows that leaves at each exit; they sum to 1.
        expected_flops: the mean FLOPs per image; on the rows that were fitted on never above the budget.
        expected_accuracy: the share of the rows that is answered rightly.
        expected_accuracy_interval: Wilson's 95% interval of that share.
        images: how many rows these are.
        budget_seconds: what an image may take on average on this machine, where the budget is a time.
        expected_seconds: the mean time of compute per image; None where no stage was timed.
        judged_on: whether the thresholds were fitted on these rows ("fitted"), or not
            (`serving.policy.expectation`).
    """

    budget_flops: float
    thresholds: Float64[np.ndarray, " k"]
    shares: Float64[np.ndarray, " k"]
    expected_flops: float
    expected_accuracy: float
    expected_accuracy_interval: tuple[float, float] = (0.0, 1.0)
    images: int = 0
    judged_on: JudgedOn = "fitted"
    budget_seconds: float | None = None
    expected_seconds: float | None = None


def exits_taken(
    score: Float64[np.ndarray, "n k"], thresholds: Float64[np.ndarray, " k"]
) -> Int64[np.ndarray, " n"]:
    """The index of the exit at which each row leaves.

    Args:
        score: float64 [N, K].
        thresholds: float64 [K]; the last is taken as minus infinity, since no row can stay.

    Returns:
        int64 [N] within [0, K).
    """
    exits = np.full(len(score), score.shape[1] - 1, np.int64)
    for exit_index in reversed(range(score.shape[1] - 1)):
        exits[score[:, exit_index] >= thresholds[exit_index]] = exit_index
    return exits


def evaluate_thresholds(
    score: Float64[np.ndarray, "n k"],
    correct: Bool[np.ndarray, "n k"],
    exit_flops: Sequence[int],
    thresholds: Float64[np.ndarray, " k"],
    budget_flops: float,
) -> Plan:
    """The effect of any thresholds on labelled rows.

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
    right = int(correct[np.arange(len(exits)), exits].sum())
    return Plan(
        budget_flops=float(budget_flops),
        thresholds=frozen,
        shares=counts / len(exits),
        expected_flops=_total(counts, exit_flops) / len(exits),
        expected_accuracy=right / len(exits),
        expected_accuracy_interval=share_interval(right, len(exits)),
        images=len(exits),
    )


class PathPolicy:
    """Thresholds for any budget, on a path that is given (see the module).

    The thresholds, and with them the exit of every row, only ever rise with the budget. The expected cost on
    the calibration rows is at most the budget, and less only by what one calibration row can add to it.

    Args:
        score: float64 [N, K], calibration scores within [0, 1 + `TIE`).
        correct: bool [N, K], whether the exit's answer is right.
        exit_flops: K costs of leaving at an exit, in FLOPs per image, rising.
        table: float64 [R, K], threshold vectors that never fall from row to row
            (`serving.policy.threshold_path.monotone_path`).

    Raises:
        ValueError: the shapes disagree, a score is out of range, the costs do not rise, or a threshold falls.
    """

    def __init__(
        self,
        score: Float64[np.ndarray, "_ _"],  # the sizes are compared here, with a message
        correct: Bool[np.ndarray, "_ _"],
        exit_flops: Sequence[int],
        table: Float64[np.ndarray, "_ _"],
    ) -> None:
        if score.shape != correct.shape or score.shape[1:] != (len(exit_flops),) or not score.size:
            raise ValueError(
                f"expected scores and correctness of one shape [N > 0, {len(exit_flops)} exits], "
                f"found {score.shape} and {correct.shape}"
            )
        if not (score.min() >= 0 and score.max() < 1 + TIE):  # written so that a NaN fails it
            raise ValueError(f"expected scores within [0, 1], found {score.min()} to {score.max()}")
        if any(later <= earlier for earlier, later in pairwise(exit_flops)):
            raise ValueError(f"expected costs that rise from exit to exit, found {list(exit_flops)}")
        if table.shape[1:] != score.shape[1:] or np.any(table[1:, :-1] < table[:-1, :-1]):
            raise ValueError(f"expected thresholds [R, {len(exit_flops)} exits] that never fall")
        self._score = np.asfortranarray(score)  # read column by column
        self._correct = correct
        self._exit_flops = np.asarray(exit_flops, np.int64)
        self._table = table
        costs = np.broadcast_to(self._exit_flops, score.shape)
        self._table_flops = interpolate_path(self._score, self._table, costs) / len(score)

    @property
    def table(self) -> Float64[np.ndarray, "r k"]:
        """The path's corners, threshold vectors [R, K] that never fall."""
        return self._table

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
        return self.judge(self._thresholds(budget_flops), budget_flops)

    def judge(self, thresholds: Float64[np.ndarray, " k"], budget_flops: float | None = None) -> Plan:
        """The effect of thresholds [K] on the rows that the policy was fitted on.

        Args:
            thresholds: from wherever they come.
            budget_flops: what they are meant for; what they cost if None.
        """
        plan = evaluate_thresholds(
            self._score, self._correct, self._exit_flops.tolist(), thresholds, budget_flops or 0
        )
        return plan if budget_flops is not None else replace(plan, budget_flops=plan.expected_flops)

    def _thresholds(self, budget_flops: float) -> Float64[np.ndarray, " k"]:
        if budget_flops == self._exit_flops[0]:
            # Nothing is left over for a served row that is less sure than any calibration row.
            return np.asarray(self._table[0])
        row = int(np.searchsorted(self._table_flops, budget_flops, side="right")) - 1
        if row == len(self._table) - 1:
            return np.asarray(self._table[-1])
        return self.__interpolate(row, budget_flops)

    def __interpolate(self, row: int, budget_flops: float) -> Float64[np.ndarray, " k"]:
        """The furthest point from one table row to the next that the budget allows, by bisection."""
        near, far = self._table[row], self._table[row + 1]
        exits_near, exits_far = exits_taken(self._score, near), exits_taken(self._score, far)
        # Exits only rise on the way, so a row that ends where it starts never moves: the others are few.
        moves = exits_near != exits_far
        moving = self._score[moves]
        costs = self._exit_flops.tolist()
        resting_flops = _total(np.bincount(exits_near[~moves], minlength=len(costs)), costs)
        low, high = 0.0, 1.0
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            exits = exits_taken(moving, _interpolate(near, far, middle))
            total_flops = resting_flops + _total(np.bincount(exits, minlength=len(costs)), costs)
            if total_flops / len(self._score) <= budget_flops:
                low = middle
            else:
                high = middle
        return _interpolate(near, far, low)


def _total(counts: Int[np.ndarray, " k"], exit_flops: Sequence[int]) -> int:
    """What rows cost together, of which so many leave at each exit; in whole numbers of any size."""
    return sum(count * cost for count, cost in zip(counts.tolist(), exit_flops, strict=True))


def _interpolate(
    near: Float64[np.ndarray, " k"], far: Float64[np.ndarray, " k"], weight: float
) -> Float64[np.ndarray, " k"]:
    """A point between two threshold vectors [K]; never past the far one, which rounding could cause."""
    thresholds = np.full(len(near), -np.inf)
    thresholds[:-1] = np.minimum(near[:-1] + weight * (far[:-1] - near[:-1]), far[:-1])
    return thresholds
