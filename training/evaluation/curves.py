"""Accuracy under budgets, on images that the thresholds were not fitted on.

The budgeted curve is that of MSDNet's budgeted batch classification (Huang et al., ICLR 2018, section 4):
thresholds are fitted on held-out images and measured on others. Deviations: a budget is solved for by the
serving policy, whose thresholds are monotone in the budget (decision 2); and the cost is the one that the
measured images really had, not the one that was planned.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from serving.policy.geometric import FIGURE_GRID
from serving.policy.plan import Plan, evaluate_thresholds

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class BudgetPolicy(Protocol):
    """Anything that turns a budget into thresholds."""

    def plan(self, budget_flops: float) -> Plan:
        """Return what `budget_flops`, FLOPs per image, buys on the images that the policy was fitted on."""


@dataclass(frozen=True)
class Point:
    """One budget, measured: FLOPs are per image; `shares` [K] of the images left at each exit."""

    budget_flops: float
    spent_flops: float
    accuracy: float
    shares: tuple[float, ...]


def grid_budgets(exit_flops: Sequence[int], grid: Sequence[float] = FIGURE_GRID) -> list[float]:
    """Return the budgets of a grid of q, ascending, between the cheapest exit's cost and full depth.

    >>> [round(budget) for budget in grid_budgets([100, 200], grid=[0.5, 1.0])]
    [100, 133, 150, 200]
    """
    flops = np.asarray(exit_flops, dtype=np.float64)
    weights = np.asarray(grid)[:, None] ** np.arange(len(flops))  # exit k's share is proportional to q^k
    planned = (weights / weights.sum(axis=1, keepdims=True)) @ flops
    return sorted({float(flops[0]), *(float(budget) for budget in planned), float(flops[-1])})


def budgeted_curve(
    policy: BudgetPolicy, budgets: Sequence[float], score: Floats, correct: Bools, exit_flops: Sequence[int]
) -> list[Point]:
    """Measure every budget on the same N images.

    Args:
        policy: fitted on other images.
        budgets: FLOPs per image.
        score: [N, K], higher is surer.
        correct: bool [N, K], whether each exit is right about each image.
        exit_flops: [K], the FLOPs of leaving at each exit.
    """
    curve = []
    for budget in budgets:
        thresholds = policy.plan(budget).thresholds
        measured = evaluate_thresholds(score, correct, exit_flops, thresholds, budget)
        shares = tuple(float(share) for share in measured.shares)
        curve.append(Point(budget, measured.expected_flops, measured.expected_accuracy, shares))
    return curve
