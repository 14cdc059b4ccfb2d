"""What a multi-exit classifier gets for its FLOPs: the accuracy of each exit, and of budgets over all exits.

The budgeted curve is that of MSDNet's budgeted batch classification (Huang et al., ICLR 2018, section 4):
thresholds are fitted on held-out images and measured on others. Deviations: a budget is solved for by the
serving policy itself, whose thresholds are monotone in the budget (decision 2), and what is drawn is the cost
that the measured images really had, not the cost that was planned.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

GRID = tuple(i / 20 for i in range(1, 41))
"""MSDNet's q: exit k gets a share of the images proportional to q^k."""


class Planned(Protocol):
    """The part of a plan that a measurement needs: a threshold for each exit, [K]; the last is -inf."""

    @property
    def thresholds(self) -> Floats:
        """A row leaves at the first exit where its score is at least this."""


class Policy(Protocol):
    """Anything that turns a budget, in FLOPs per image, into thresholds."""

    def plan(self, budget_flops: float) -> Planned:
        """Return the thresholds that `budget_flops` buys."""


@dataclass(frozen=True)
class Point:
    """One budget, measured: FLOPs are per image; `shares` [K] of the images left at each exit."""

    budget_flops: float
    spent_flops: float
    accuracy: float
    shares: tuple[float, ...]


def grid_budgets(exit_flops: Sequence[int], grid: Sequence[float] = GRID) -> list[float]:
    """Return the budgets of MSDNet's grid, ascending, between the cheapest exit's cost and full depth.

    >>> [round(budget) for budget in grid_budgets([100, 200], grid=[0.5, 1.0])]
    [100, 133, 150, 200]
    """
    flops = np.asarray(exit_flops, dtype=np.float64)
    weights = np.asarray(grid)[:, None] ** np.arange(len(flops))
    planned = (weights / weights.sum(axis=1, keepdims=True)) @ flops
    return sorted({float(flops[0]), *(float(budget) for budget in planned), float(flops[-1])})


def leaving_exit(score: Floats, thresholds: Floats) -> npt.NDArray[np.int64]:
    """Return, int64 [N], the 0-based exit where each row leaves: the first whose threshold its score reaches.

    Args:
        score: [N, K], higher is surer.
        thresholds: [K]; the last is -inf.
    """
    return np.asarray((score >= thresholds).argmax(axis=1), dtype=np.int64)


def measure(
    budget_flops: float, thresholds: Floats, score: Floats, correct: Bools, exit_flops: Sequence[int]
) -> Point:
    """Send N scored images through the thresholds and say what that cost and how many answers were right.

    Args:
        budget_flops: what was asked for, per image.
        thresholds: [K].
        score: [N, K].
        correct: bool [N, K], whether each exit is right about each image.
        exit_flops: [K], the FLOPs of leaving at each exit.
    """
    exits = leaving_exit(score, thresholds)
    shares = np.bincount(exits, minlength=len(exit_flops)) / len(exits)
    return Point(
        budget_flops=budget_flops,
        spent_flops=float(shares @ np.asarray(exit_flops, dtype=np.float64)),
        accuracy=float(correct[np.arange(len(exits)), exits].mean()),
        shares=tuple(float(share) for share in shares),
    )


def budgeted_curve(
    policy: Policy, budgets: Sequence[float], score: Floats, correct: Bools, exit_flops: Sequence[int]
) -> list[Point]:
    """Measure every budget on the same N images; the policy was fitted on others."""
    return [measure(budget, policy.plan(budget).thresholds, score, correct, exit_flops) for budget in budgets]
