"""The budgeted curve: the known reach of its grid, golden values by hand, fitting on other images."""

import numpy as np
import pytest

from serving.policy.geometric import FIGURE_GRID
from serving.policy.plan import Plan
from serving.policy.registry import fit_policy
from training.evaluation.curves import budgeted_curve, grid_budgets

INF = np.inf
SCORE = np.array([[0.9, 0.5, 0.9], [0.2, 0.8, 0.1], [0.1, 0.2, 0.3], [0.7, 0.1, 0.2]])
CORRECT = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 1, 1]], dtype=bool)
FLOPS = [10, 20, 40]
# The poster's MSDNet-7 with 100 classes: its grid is known to reach from 58.8 to 297.6 MFLOPs.
MSDNET_7 = [56.43, 101.00, 155.31, 198.10, 249.53, 298.05, 340.64]


def test_the_grid_reaches_as_far_as_msdnets_and_the_ends_are_the_fixed_exits() -> None:
    budgets = grid_budgets([round(flops * 1e6) for flops in MSDNET_7])
    assert len(budgets) == len(FIGURE_GRID) + 2
    assert budgets == sorted(budgets)
    assert budgets[0] == pytest.approx(56.43e6)
    assert budgets[1] == pytest.approx(58.8e6, rel=1e-3)
    assert budgets[-2] == pytest.approx(297.6e6, rel=1e-3)
    assert budgets[-1] == pytest.approx(340.64e6)


def test_one_exit_has_one_budget() -> None:
    assert grid_budgets([70]) == [70.0]


class Table:
    """A policy for tests: thresholds looked up by budget; what it expects is wrong on purpose."""

    def plan(self, budget_flops: float) -> Plan:
        table = {10.0: [-INF, -INF, -INF], 22.0: [0.7, 0.8, -INF], 40.0: [INF, INF, -INF]}
        thresholds = np.array(table[budget_flops])
        return Plan(budget_flops, thresholds, np.zeros(3), expected_flops=-1.0, expected_accuracy=-1.0)


def test_every_budget_is_measured_on_the_given_images_not_taken_from_the_plan() -> None:
    cheap, middle, full = budgeted_curve(Table(), [10.0, 22.0, 40.0], SCORE, CORRECT, FLOPS)
    assert (cheap.spent_flops, cheap.accuracy, cheap.shares) == (10.0, 0.25, (1.0, 0.0, 0.0))
    # The scores .9 and .7 leave first (one that equals its threshold leaves), .8 second, the third row last.
    assert (middle.spent_flops, middle.accuracy, middle.shares) == (20.0, 0.75, (0.5, 0.25, 0.25))
    assert (full.spent_flops, full.accuracy, full.shares) == (40.0, 1.0, (0.0, 0.0, 1.0))
    assert [point.budget_flops for point in (cheap, middle, full)] == [10.0, 22.0, 40.0]


def test_the_serving_policy_holds_its_budgets_on_images_like_those_it_was_fitted_on() -> None:
    generator = np.random.default_rng(0)
    fitted, measured = generator.random((2, 4000, 3))
    right = generator.random((2, 4000, 3)) < (fitted, measured)  # surer is righter
    policy = fit_policy("geometric", fitted, right[0], FLOPS)
    curve = budgeted_curve(policy, grid_budgets(FLOPS), measured, right[1], FLOPS)
    for point in curve:
        assert point.spent_flops == pytest.approx(point.budget_flops, rel=0.05)
        assert sum(point.shares) == pytest.approx(1)
    spent = [point.spent_flops for point in curve]
    assert spent == sorted(spent)
