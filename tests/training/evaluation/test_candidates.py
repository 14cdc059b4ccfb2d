"""Candidates: how they are told apart, judged and held against each other."""

import numpy as np
import pytest

from serving.bundle import Named
from serving.policy.plan import evaluate_thresholds
from tests.serving.calibrations import FLOPS, table
from training.evaluation.candidates import (
    ALL_CANDIDATES,
    DEFAULT_CANDIDATE,
    Candidate,
    CandidateResult,
    gain,
    gain_at_equal_cost,
    outcome,
    pooled,
    spread_budgets,
)
from training.evaluation.evaluation import Scored


def scored(rows: int, seed: int) -> Scored:
    drawn = table(rows, seed)
    return Scored(drawn.score, drawn.correct)


def test_names_say_what_is_fitted() -> None:
    assert str(DEFAULT_CANDIDATE) == "max_probability, geometric"
    assert str(Candidate("margin", Named(name="searched", options={"stiffness": 20.0}))) == (
        "margin, searched (stiffness 20)"
    )
    assert len({str(candidate) for candidate in ALL_CANDIDATES}) == len(ALL_CANDIDATES) == 24


def test_budgets_lie_between_the_ends() -> None:
    budgets = spread_budgets(FLOPS)
    assert len(budgets) == 12
    assert FLOPS[0] < budgets[0] < budgets[-1] < FLOPS[-1]


def test_an_outcome_is_what_judging_says() -> None:
    policy, measured = DEFAULT_CANDIDATE.fit(scored(500, 0), FLOPS), scored(300, 1)
    found = outcome(policy, measured, [20.0, 40.0], FLOPS)
    for index, budget in enumerate((20.0, 40.0)):
        plan = evaluate_thresholds(
            measured.score, measured.correct, FLOPS, policy.plan(budget).thresholds, budget
        )
        assert found.accuracy[index] == pytest.approx(plan.expected_accuracy)
        assert found.spent_flops[index] == pytest.approx(plan.expected_flops)
    np.testing.assert_allclose(found.per_image.mean(), found.accuracy.mean())


def test_a_gain_by_hand() -> None:
    more, error = gain(np.array([1.0, 1, 0, 1]), np.array([1.0, 0, 0, 0]))
    assert more == 0.5
    assert error == pytest.approx(0.25)  # the differences 0 1 0 1 have a deviation of 1/2, over sqrt(4)


def test_a_rival_pays_for_what_it_spends_beyond_the_base() -> None:
    right = np.zeros((3, 100), np.bool_)
    for row, share in zip(right, (50, 60, 70), strict=True):
        row[:share] = True
    base = CandidateResult(right, np.array([10.0, 20.0, 30.0]))
    # At every budget one point better, and at two of them for a FLOP more, which buys a point of the base.
    better = right.copy()
    better[:, 99] = True
    dearer = CandidateResult(better, base.spent_flops + np.array([1.0, 1.0, 0.0]))

    assert gain_at_equal_cost(base, base) == (0, 0)
    found, error = gain_at_equal_cost(dearer, base)
    assert found == pytest.approx(0.01 - (0.01 + 0.01 + 0) / 3)
    assert error == pytest.approx(gain(dearer.per_image, base.per_image)[1])
    joined = pooled([base, dearer])
    assert joined.right.shape == (3, 200)
    assert joined.spent_flops.tolist() == [10.5, 20.5, 30]
