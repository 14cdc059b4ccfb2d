"""The budgeted curve: golden values by hand, and what must hold for any scores and thresholds."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.curves import GRID, Floats, budgeted_curve, grid_budgets, leaving_exit, measure

INF = np.inf
SCORE = np.array([[0.9, 0.5, 0.9], [0.2, 0.8, 0.1], [0.1, 0.2, 0.3], [0.7, 0.1, 0.2]])
CORRECT = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 1, 1]], dtype=bool)
FLOPS = [10, 20, 40]
# The poster's MSDNet-7 with 100 classes: its grid is known to reach from 58.8 to 297.6 MFLOPs.
MSDNET_7 = [56.43, 101.00, 155.31, 198.10, 249.53, 298.05, 340.64]


@pytest.mark.parametrize(
    ("thresholds", "exits", "spent", "accuracy"),
    [
        ([-INF, -INF, -INF], [0, 0, 0, 0], 10.0, 0.25),
        ([INF, INF, -INF], [2, 2, 2, 2], 40.0, 1.0),
        ([0.7, 0.8, -INF], [0, 1, 2, 0], 20.0, 0.75),  # a score equal to the threshold leaves
    ],
)
def test_rows_leave_where_their_score_first_reaches_the_threshold(
    thresholds: list[float], exits: list[int], spent: float, accuracy: float
) -> None:
    assert leaving_exit(SCORE, np.array(thresholds)).tolist() == exits
    point = measure(25.0, np.array(thresholds), SCORE, CORRECT, FLOPS)
    assert (point.budget_flops, point.spent_flops, point.accuracy) == (25.0, spent, accuracy)
    assert point.shares == tuple(exits.count(k) / 4 for k in range(3))


def test_the_grid_reaches_as_far_as_msdnets_and_the_ends_are_the_fixed_exits() -> None:
    budgets = grid_budgets([round(flops * 1e6) for flops in MSDNET_7])
    assert len(budgets) == len(GRID) + 2
    assert budgets == sorted(budgets)
    assert budgets[0] == pytest.approx(56.43e6)
    assert budgets[1] == pytest.approx(58.8e6, rel=1e-3)
    assert budgets[-2] == pytest.approx(297.6e6, rel=1e-3)
    assert budgets[-1] == pytest.approx(340.64e6)


def test_one_exit_has_one_budget() -> None:
    assert grid_budgets([70]) == [70.0]


@dataclass
class Fixed:
    thresholds: Floats


class EverythingAtOnce:
    """A policy for tests: all rows leave at the deepest exit that the budget pays for."""

    def plan(self, budget_flops: float) -> Fixed:
        affordable = np.asarray(FLOPS) <= budget_flops
        return Fixed(np.where(np.arange(3) >= affordable.sum() - 1, -INF, INF))


def test_the_curve_asks_the_policy_for_every_budget() -> None:
    curve = budgeted_curve(EverythingAtOnce(), [10.0, 25.0, 40.0], SCORE, CORRECT, FLOPS)
    assert [point.budget_flops for point in curve] == [10.0, 25.0, 40.0]
    assert [point.spent_flops for point in curve] == [10.0, 20.0, 40.0]
    assert [point.accuracy for point in curve] == [0.25, 0.75, 1.0]


@given(
    scores=st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=30),
    first=st.floats(0, 1),
    second=st.floats(0, 1),
)
def test_every_row_leaves_once_and_costs_between_the_cheapest_exit_and_full_depth(
    scores: list[list[float]], first: float, second: float
) -> None:
    score: npt.NDArray[np.float64] = np.asarray(scores)
    correct = np.ones_like(score, dtype=bool)
    point = measure(0.0, np.array([first, second, -INF]), score, correct, FLOPS)
    assert sum(point.shares) == pytest.approx(1)
    assert FLOPS[0] - 1e-9 <= point.spent_flops <= FLOPS[-1] + 1e-9
    assert point.accuracy == 1.0
