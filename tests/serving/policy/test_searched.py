"""The search: what holds on any calibration set, that it finds what the heuristic misses, and the chances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.policy.confidence import calibration_score
from serving.policy.correctness import correctness_probability
from serving.policy.geometric import geometric_table
from serving.policy.plan import PathPolicy, evaluate_thresholds, exits_taken
from serving.policy.registry import fit_policy
from serving.policy.searched import MOST_ROWS, searched_table
from serving.policy.threshold_path import EVERYBODY_LEAVES, NOBODY_LEAVES
from tests.serving.calibrations import FLOPS, Table, table

BUDGETS = np.linspace(FLOPS[0], FLOPS[-1], 14)[1:-1]


def useless_second_exit(rows: int, seed: int) -> Table:
    """The second exit is as right as the first one, and no surer of it: nobody should stop there."""
    drawn = table(rows, seed)
    score, correct = drawn.score.copy(), drawn.correct.copy()
    correct[:, 1] = correct[:, 0]
    return Table(score, correct)


def mean_accuracy(policy: PathPolicy, rows: Table) -> float:
    found = [
        evaluate_thresholds(rows.score, rows.correct, FLOPS, policy.plan(float(budget)).thresholds, 0)
        for budget in BUDGETS
    ]
    return float(np.mean([plan.expected_accuracy for plan in found]))


@settings(max_examples=15, deadline=None)
@given(
    rows=st.integers(1, 150),
    exits=st.integers(1, 5),
    seed=st.integers(0, 1000),
    stiffness=st.sampled_from([1e-3, 5, 1e6]),
    fractions=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_budgets_are_kept_and_thresholds_only_rise_with_them(
    rows: int, exits: int, seed: int, stiffness: float, fractions: tuple[float, float]
) -> None:
    drawn, flops = table(rows, seed, exits), tuple(range(1, exits + 1))
    path = searched_table(drawn.score, drawn.correct, flops, stiffness)
    policy = PathPolicy(drawn.score, drawn.correct, flops, path)
    assert np.all(path[0, :-1] == EVERYBODY_LEAVES)
    assert np.all(path[-1, :-1] == NOBODY_LEAVES)
    budgets = [1 + fraction * (exits - 1) for fraction in sorted(fractions)]
    small, large = (policy.plan(budget) for budget in budgets)
    assert small.expected_flops <= budgets[0]
    assert large.expected_flops <= budgets[1]
    assert np.all(small.thresholds <= large.thresholds)
    assert np.all(exits_taken(drawn.score, small.thresholds) <= exits_taken(drawn.score, large.thresholds))


def test_it_finds_what_the_heuristic_cannot_see_on_held_out_rows() -> None:
    fitted, held_out = useless_second_exit(2_000, seed=1), useless_second_exit(20_000, seed=2)
    geometric = fit_policy("geometric", fitted.score, fitted.correct, FLOPS)
    searched = PathPolicy(
        fitted.score, fitted.correct, FLOPS, searched_table(fitted.score, fitted.correct, FLOPS, 5)
    )
    assert mean_accuracy(searched, held_out) > mean_accuracy(geometric, held_out) + 0.004
    budget = 0.5 * FLOPS[-1]
    assert searched.plan(budget).shares[1] < 0.5 * geometric.plan(budget).shares[1]


def test_a_stiff_search_stays_with_the_heuristic() -> None:
    drawn = useless_second_exit(1_000, seed=1)
    heuristic = fit_policy("geometric", drawn.score, drawn.correct, FLOPS)
    stiff = PathPolicy(
        drawn.score, drawn.correct, FLOPS, searched_table(drawn.score, drawn.correct, FLOPS, 1e9)
    )
    for budget in BUDGETS:
        np.testing.assert_allclose(
            stiff.plan(float(budget)).shares, heuristic.plan(float(budget)).shares, atol=0.03
        )


def test_few_rows_do_not_lead_it_astray() -> None:
    """At the default stiffness, fitted on 150 rows, it is no worse than the heuristic by half a point."""
    held_out = table(20_000, seed=9)
    lost = []
    for seed in range(4):
        fitted = table(150, seed)
        policies = [
            fit_policy(name, fitted.score, fitted.correct, FLOPS) for name in ("geometric", "searched")
        ]
        before, after = (mean_accuracy(policy, held_out) for policy in policies)
        lost.append(before - after)
    assert np.mean(lost) < 0.005


def test_more_rows_than_are_needed_are_thinned_out() -> None:
    drawn = table(2 * MOST_ROWS + 1, seed=3)
    every_third = Table(drawn.score[::3], drawn.correct[::3])
    np.testing.assert_array_equal(
        searched_table(drawn.score, drawn.correct, FLOPS),
        searched_table(every_third.score, every_third.correct, FLOPS),
    )


def test_chances_are_those_that_the_rows_were_drawn_with() -> None:
    random = np.random.default_rng(0)
    score = random.uniform(0.05, 0.95, (20_000, 2))
    truth = np.stack([score[:, 0], 1 - 0.5 * score[:, 1]], axis=1)
    found = correctness_probability(score, random.random(score.shape) < truth)
    assert np.abs(found - truth).mean() < 0.03


@pytest.mark.parametrize("right", [True, False])
def test_chances_stay_finite_where_all_rows_agree(right: bool) -> None:
    score = calibration_score(np.ones((30, 2), np.float32))
    found = correctness_probability(score, np.full((30, 2), right))
    assert np.all((found > 0.9) if right else (found < 0.1))


def test_the_heuristic_s_table_is_untouched_by_one_exit() -> None:
    drawn = table(50, seed=1, exits=1)
    np.testing.assert_array_equal(
        searched_table(drawn.score, drawn.correct, (7,)), geometric_table(drawn.score)
    )
