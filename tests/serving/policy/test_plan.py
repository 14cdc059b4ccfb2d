"""Thresholds: MSDNet's heuristic by hand, and what holds for every budget on random calibration sets."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import BudgetError
from serving.policy.confidence import calibration_score
from serving.policy.geometric import FIGURE_GRID, geometric_table, geometric_thresholds
from serving.policy.plan import PathPolicy, Plan, evaluate_thresholds, exits_taken
from serving.policy.registry import fit_policy
from serving.policy.threshold_path import (
    EVERYBODY_LEAVES,
    NOBODY_LEAVES,
    interpolate_path,
    monotone_path,
    refine_path,
)

# Six rows, three exits. At q = 1 a third, that is two rows, leaves at each exit.
SCORE = np.array(
    [[0.9, 0.5, 0.5], [0.8, 0.6, 0.5], [0.7, 0.2, 0.5], [0.3, 0.9, 0.5], [0.2, 0.8, 0.5], [0.1, 0.4, 0.5]]
)
CORRECT = np.array([[1, 1, 1], [1, 1, 1], [0, 1, 0], [0, 1, 1], [0, 0, 1], [0, 0, 1]], bool)
FLOPS = (10, 20, 40)


@dataclass(frozen=True)
class Case:
    """A calibration set and costs."""

    score: np.ndarray
    correct: np.ndarray
    flops: tuple[int, ...]

    def policy(self) -> PathPolicy:
        return fit_policy("geometric", self.score, self.correct, self.flops)

    def budget(self, fraction: float) -> float:
        return self.flops[0] + fraction * (self.flops[-1] - self.flops[0])


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Few or many rows, correlated exits, saturated or coarse confidences, uneven costs."""
    rows, exits = draw(st.integers(1, 120)), draw(st.integers(1, 6))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    ease = random.normal(size=(rows, 1)) * draw(st.sampled_from([0.1, 1, 4]))
    steepness = draw(st.sampled_from([1, 8, 60]))
    raw = 0.5 + 0.5 * np.tanh(steepness * (ease + random.normal(size=(rows, exits))))
    confidence = np.round(raw, draw(st.sampled_from([1, 3, 9]))).astype(np.float32)
    flops = np.cumsum(random.integers(1, draw(st.sampled_from([2, 10, 10**9])), exits, endpoint=True))
    return Case(calibration_score(confidence), random.random((rows, exits)) < raw, tuple(flops.tolist()))


def test_the_heuristic_by_hand() -> None:
    # Exit 1 keeps its best two (0.9, 0.8). Of the other four, exit 2 lets out its best two (0.9, 0.8).
    thresholds = geometric_thresholds(SCORE, q=1)
    np.testing.assert_allclose(thresholds, [0.8, 0.8, -np.inf])
    np.testing.assert_array_equal(exits_taken(SCORE, thresholds), [0, 0, 2, 1, 1, 2])


def test_part_of_a_row_moves_the_threshold_that_far_to_the_next_score() -> None:
    # q = 2: exit 1 gets 6/7 of a row, so its threshold lies 6/7 of the way from above all scores to 0.9;
    # nobody leaves there. Exit 2 gets 2 rows of 6 (0.9, 0.8).
    thresholds = geometric_thresholds(SCORE, q=2)
    assert thresholds[0] == pytest.approx(NOBODY_LEAVES + 6 / 7 * (0.9 - NOBODY_LEAVES))
    assert thresholds[1] == pytest.approx(0.8)


def test_judging_thresholds_by_hand() -> None:
    plan = evaluate_thresholds(SCORE, CORRECT, FLOPS, np.array([0.8, 0.8, -np.inf]), budget_flops=30)
    np.testing.assert_allclose(plan.shares, [1 / 3, 1 / 3, 1 / 3])
    assert plan.expected_flops == pytest.approx((10 + 20 + 40) / 3)
    # Rows leave at exits 1, 1, 3, 2, 2, 3; of these answers the third and the fifth are wrong.
    assert plan.expected_accuracy == pytest.approx(4 / 6)


def test_a_plan_cannot_be_changed_by_those_who_share_it() -> None:
    plan = fit_policy("geometric", SCORE, CORRECT, FLOPS).plan(20)
    with pytest.raises(ValueError, match="read-only"):
        plan.thresholds[0] = 0


def test_the_ends_are_exact() -> None:
    policy = fit_policy("geometric", SCORE, CORRECT, FLOPS)
    cheapest, dearest, beyond = policy.plan(10), policy.plan(40), policy.plan(1e9)
    np.testing.assert_array_equal(cheapest.shares, [1, 0, 0])
    assert cheapest.thresholds[0] == EVERYBODY_LEAVES
    np.testing.assert_array_equal(dearest.shares, [0, 0, 1])
    np.testing.assert_array_equal(dearest.thresholds, [NOBODY_LEAVES, NOBODY_LEAVES, -np.inf])
    np.testing.assert_array_equal(beyond.thresholds, dearest.thresholds)


@pytest.mark.parametrize("budget_flops", [9.999, 0, -1, float("nan")])
def test_a_budget_under_the_cheapest_exit_names_it(budget_flops: float) -> None:
    with pytest.raises(BudgetError, match="exit 1, which costs 10 FLOPs"):
        fit_policy("geometric", SCORE, CORRECT, FLOPS).plan(budget_flops)


@pytest.mark.parametrize(
    ("score", "correct", "flops", "message"),
    [
        (SCORE, CORRECT[:5], FLOPS, "one shape"),
        (SCORE, CORRECT, (10, 20), "one shape"),
        (SCORE[:0], CORRECT[:0], FLOPS, "one shape"),
        (SCORE + 1, CORRECT, FLOPS, r"within \[0, 1\]"),
        (SCORE * np.nan, CORRECT, FLOPS, r"within \[0, 1\]"),
        (SCORE, CORRECT, (10, 10, 40), "rise"),
    ],
)
def test_what_no_policy_can_be_made_of(
    score: np.ndarray, correct: np.ndarray, flops: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        PathPolicy(score, correct, flops, geometric_table(SCORE))


@given(case=cases(), fractions=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_thresholds_and_every_row_s_exit_only_rise_with_the_budget(
    case: Case, fractions: tuple[float, float]
) -> None:
    policy = case.policy()
    smaller, larger = (policy.plan(case.budget(fraction)) for fraction in sorted(fractions))
    assert np.all(smaller.thresholds <= larger.thresholds)
    assert np.all(exits_taken(case.score, smaller.thresholds) <= exits_taken(case.score, larger.thresholds))
    assert smaller.expected_flops <= larger.expected_flops


@given(case=cases(), fraction=st.floats(0, 1.2))
def test_the_expected_cost_is_at_most_the_budget_and_one_row_short_of_it_at_worst(
    case: Case, fraction: float
) -> None:
    budget_flops = case.budget(fraction)
    plan = case.policy().plan(budget_flops)
    assert plan.expected_flops <= budget_flops
    # Rows move one at a time, unless several cross in the last 2^-50 of a step: allow two.
    one_row = (case.flops[-1] - case.flops[0]) / len(case.score)
    assert plan.expected_flops >= min(budget_flops, case.flops[-1]) - 2 * one_row - 1e-9 * budget_flops


@given(case=cases(), fraction=st.floats(0, 1))
def test_a_plan_says_what_its_thresholds_do(case: Case, fraction: float) -> None:
    plan: Plan = case.policy().plan(case.budget(fraction))
    exits = exits_taken(case.score, plan.thresholds)
    rows = np.arange(len(exits))
    assert plan.thresholds[-1] == -np.inf
    assert plan.shares.sum() == pytest.approx(1)
    np.testing.assert_allclose(plan.shares, np.bincount(exits, minlength=len(case.flops)) / len(rows))
    assert plan.expected_flops == pytest.approx(np.asarray(case.flops)[exits].mean())
    assert plan.expected_accuracy == pytest.approx(case.correct[rows, exits].mean())


@settings(max_examples=20)
@given(seed=st.integers(0, 1000))
def test_on_many_rows_the_policy_is_as_good_as_the_heuristic_s_grid(seed: int) -> None:
    """Making the thresholds monotone and joining them by lines costs no accuracy at equal cost."""
    random = np.random.default_rng(seed)
    confidence = 1 / (1 + np.exp(-4 * (random.normal(size=(2000, 1)) + 0.6 * random.normal(size=(2000, 4)))))
    score, correct = calibration_score(confidence.astype(np.float32)), random.random((2000, 4)) < confidence
    flops = (10, 20, 30, 40)
    policy = fit_policy("geometric", score, correct, flops)
    gains = []
    for q in FIGURE_GRID[3::4]:
        plain = evaluate_thresholds(score, correct, flops, geometric_thresholds(score, q), 0)
        gains.append(policy.plan(plain.expected_flops).expected_accuracy - plain.expected_accuracy)
    assert np.mean(gains) > -0.003
    assert np.min(gains) > -0.01


@given(case=cases(), seed=st.integers(0, 1000))
def test_summing_along_a_path_is_summing_for_each_of_its_points(case: Case, seed: int) -> None:
    value = np.random.default_rng(seed).integers(0, 10**9, case.score.shape)
    path = case.policy().table
    expected = [value[np.arange(len(value)), exits_taken(case.score, point)].sum() for point in path]
    np.testing.assert_array_equal(interpolate_path(case.score, path, value), expected)


@given(case=cases(), steps=st.integers(1, 5))
def test_a_refined_path_goes_through_the_corners_and_never_falls(case: Case, steps: int) -> None:
    path = case.policy().table
    finer = refine_path(path, steps)
    np.testing.assert_allclose(finer[::steps, :-1], path[:, :-1], rtol=0, atol=1e-12)
    assert np.all(np.isneginf(finer[:, -1]))
    assert np.all(finer[1:, :-1] >= finer[:-1, :-1])


def test_a_path_rises_from_the_middle_outwards() -> None:
    found = np.array([[0.3, -1], [0.4, -1], [0.35, -1], [0.2, -1], [0.6, -1]])
    path = monotone_path(found, middle=2)
    np.testing.assert_allclose(path[:, 0], [EVERYBODY_LEAVES, 0.3, 0.35, 0.35, 0.35, 0.6, NOBODY_LEAVES])
    assert np.all(np.isneginf(path[:, 1]))


def test_a_path_that_falls_is_refused() -> None:
    path = fit_policy("geometric", SCORE, CORRECT, FLOPS).table[::-1]
    with pytest.raises(ValueError, match="never fall"):
        PathPolicy(SCORE, CORRECT, FLOPS, path)


@pytest.mark.parametrize("exits", [1, 3])
def test_costs_of_many_rows_add_up_beyond_64_bits(exits: int) -> None:
    rows = 20_000
    flops = tuple(10**15 * number for number in range(1, exits + 1))
    random = np.random.default_rng(0)
    score, correct = random.random((rows, exits)), random.random((rows, exits)) < 0.5
    policy = fit_policy("geometric", score, correct, flops)
    for budget in (flops[0], (flops[0] + flops[-1]) / 2, flops[-1]):
        plan = policy.plan(float(budget))
        assert flops[0] <= plan.expected_flops <= budget * (1 + 1e-12)
