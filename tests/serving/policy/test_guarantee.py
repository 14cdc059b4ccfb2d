"""The guarantee: what is certified by hand, that risks are controlled, and what is refused."""

import re
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serving.errors import BudgetError, TermsError
from serving.policy.guarantee import Certifier
from serving.policy.plan import PathPolicy, exits_taken
from serving.policy.registry import fit_policy
from serving.policy.risk import most_errors, p_value
from tests.serving.calibrations import FLOPS, Table, table


def policy(seed: int = 0, rows: int = 2_000, name: str = "geometric") -> PathPolicy:
    fitted = table(rows, seed)
    return fit_policy(name, fitted.score, fitted.correct, FLOPS)


def certifier(kept: Table, of: PathPolicy | None = None) -> Certifier:
    return Certifier(of or policy(), kept.score, kept.correct)


def risk(thresholds: np.ndarray, rows: Table) -> float:
    exits = exits_taken(rows.score, thresholds)
    return float((rows.correct[:, -1] & ~rows.correct[np.arange(len(exits)), exits]).mean())


def test_the_certificate_says_what_was_found_on_the_certifying_images() -> None:
    kept = table(3_000, seed=1)
    found = certifier(kept).plan(0.05)
    assert found.certificate.risk == risk(found.plan.thresholds, kept)
    assert found.certificate.images == 3_000
    errors = round(found.certificate.risk * 3_000)
    assert found.certificate.p_value == p_value(errors, 3_000, 0.05) <= 0.05
    assert found.certificate.delta == 0.05
    assert found.plan.budget_flops == found.plan.expected_flops < FLOPS[-1]


def test_nothing_beyond_the_first_unproven_thresholds_is_taken() -> None:
    """Two exits; the rows that would leave next are wrong, those after them right: the walk stops between."""
    score = np.stack([np.linspace(0, 1, 1_000, endpoint=False)] * 2, axis=1)
    path = fit_policy("geometric", score, np.ones((1_000, 2), bool), (1, 2))
    correct = np.ones((1_000, 2), bool)
    correct[700:800, 0] = False  # the surest 200 are right, the next 100 wrong, the rest right again
    plan = Certifier(path, score, correct).plan(0.03).plan
    # 30 errors in 1,000 prove nothing of 3%: fewer of the wrong ones are let go, and no one after them.
    assert 0.2 <= plan.shares[0] < 0.23
    # Letting all go would make 10% wrong, which 15% allows: then the walk gets past them.
    assert Certifier(path, score, correct).plan(0.15).plan.shares[0] == 1


def test_where_early_answers_are_never_worse_everybody_leaves_at_once() -> None:
    kept = table(500, seed=1)
    same = Table(kept.score, np.repeat(kept.correct[:, :1], len(FLOPS), axis=1))
    assert certifier(same).plan(0.01).plan.expected_flops == FLOPS[0]


def test_with_the_least_images_only_thresholds_without_an_error_are_certified() -> None:
    kept = table(149, seed=3)
    found = certifier(kept).plan(0.02)
    assert found.certificate.risk == 0
    assert found.plan.expected_flops > 0.7 * FLOPS[-1]


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    drops=st.tuples(st.floats(0.01, 0.3), st.floats(0.01, 0.3)),
    deltas=st.tuples(st.floats(0.01, 0.5), st.floats(0.01, 0.5)),
)
def test_allowing_more_never_costs_more(
    seed: int, drops: tuple[float, float], deltas: tuple[float, float]
) -> None:
    found = certifier(table(600, seed))
    strict = found.plan(min(drops), min(deltas)).plan
    assert found.plan(max(drops), min(deltas)).plan.expected_flops <= strict.expected_flops
    assert found.plan(min(drops), max(deltas)).plan.expected_flops <= strict.expected_flops
    assert np.all(found.plan(max(drops), max(deltas)).plan.thresholds <= strict.thresholds)


@pytest.mark.parametrize("name", ["geometric", "searched"])
def test_the_risk_is_controlled_over_many_draws(name: str) -> None:
    """The true risk, known from 40,000 rows, is over max_drop in a share δ of the draws at most."""
    world, path, delta = table(40_000, seed=5), policy(seed=6, rows=500, name=name), 0.1
    random = np.random.default_rng(7)
    violations, shares = 0, []
    for _ in range(200):
        rows = random.integers(0, len(world.score), 400)
        plan = Certifier(path, world.score[rows], world.correct[rows]).plan(0.05, delta).plan
        violations += risk(plan.thresholds, world) > 0.05
        shares.append(plan.expected_flops / FLOPS[-1])
    assert violations / 200 <= delta + 3 * (delta * (1 - delta) / 200) ** 0.5
    assert np.mean(shares) < 0.9  # and it is not kept by never leaving early


def own_answers(drawn: Table, seed: int) -> Table:
    """Hold every exit against the last one's answer: two that are wrong agree half of the time."""
    right, last = drawn.correct, drawn.correct[:, -1:]
    agree = (right & last) | (~right & ~last & (np.random.default_rng(seed).random(right.shape) < 0.5))
    agree[:, -1] = True
    return Table(drawn.score, agree)


def test_of_own_answers_no_more_change_than_is_promised_in_100_draws() -> None:
    """What changed bounds what was lost, whatever the labels are."""
    labelled = table(20_000, seed=8)
    world, fitted, delta = own_answers(labelled, seed=9), own_answers(table(500, seed=10), seed=11), 0.05
    path = fit_policy("geometric", fitted.score, fitted.correct, FLOPS)
    random = np.random.default_rng(12)
    broken, costs = 0, []
    for _ in range(100):
        rows = random.integers(0, len(world.score), 500)
        plan = Certifier(path, world.score[rows], world.correct[rows]).plan(0.05, delta).plan
        changed = risk(plan.thresholds, world)
        assert risk(plan.thresholds, labelled) <= changed
        broken += changed > 0.05
        costs.append(plan.expected_flops / FLOPS[-1])
    assert broken <= 100 * delta + 3 * (100 * delta * (1 - delta)) ** 0.5
    assert np.mean(costs) < 0.95


@pytest.mark.parametrize("max_drop", [0, 1, -1, 1.5, float("nan")])
def test_max_drop_lies_between_0_and_1(max_drop: float) -> None:
    with pytest.raises(TermsError, match="expected max_drop between 0 and 1"):
        certifier(table(200, seed=1)).plan(max_drop)


def test_a_net_of_one_exit_loses_nothing() -> None:
    drawn = table(200, seed=1, exits=1)
    path = fit_policy("geometric", drawn.score, drawn.correct, (7,))
    assert Certifier(path, drawn.score, drawn.correct).plan(0.05).plan.expected_flops == 7


def test_delta_lies_between_0_and_1() -> None:
    with pytest.raises(TermsError, match="expected delta between 0 and 1"):
        certifier(table(200, seed=1)).plan(0.1, delta=1)


def test_too_few_images_are_named() -> None:
    with pytest.raises(
        TermsError, match=r"needs at least 149 certifying images.* has 148: .* max_drop=0\.0201;"
    ):
        certifier(table(148, seed=1)).plan(0.02)
    assert certifier(table(148, seed=1)).plan(0.0201).certificate.risk == 0


def test_no_images_at_all_promise_nothing() -> None:
    with pytest.raises(TermsError, match="the bundle's calibration has none"):
        certifier(table(0, seed=1)).plan(0.02)


KEPT = {rows: certifier(table(rows, seed=1)) for rows in (0, 1, 200)}


@settings(deadline=None)
@given(
    rows=st.sampled_from(sorted(KEPT)),
    max_drop=st.floats(0, 1, exclude_min=True, exclude_max=True, allow_subnormal=True),
    delta=st.floats(0, 1, exclude_min=True, exclude_max=True, allow_subnormal=True),
)
@example(rows=200, max_drop=5e-324, delta=0.05)
@example(rows=200, max_drop=1e-18, delta=0.05)
@example(rows=200, max_drop=1e-20, delta=0.05)
@example(rows=200, max_drop=1 - 2**-53, delta=5e-324)
@example(rows=1, max_drop=0.5, delta=5e-324)
def test_whatever_the_numbers_only_the_caller_is_at_fault(rows: int, max_drop: float, delta: float) -> None:
    if most_errors(rows, max_drop, delta) >= 0:
        assert KEPT[rows].plan(max_drop, delta).certificate.p_value <= delta
        return
    with pytest.raises(TermsError, match=re.escape(f"max_drop={max_drop:g} with delta={delta:g} needs")):
        KEPT[rows].plan(max_drop, delta)


def test_a_budget_caps_and_never_changes_the_thresholds() -> None:
    found = certifier(table(2_000, seed=1))
    free = found.plan(0.05)
    capped = found.plan(0.05, budget_flops=FLOPS[-1])
    assert {**asdict(capped.certificate)} == {**asdict(free.certificate)}
    np.testing.assert_array_equal(capped.plan.thresholds, free.plan.thresholds)
    assert capped.plan.budget_flops == FLOPS[-1]
    with pytest.raises(BudgetError, match=r"max_drop=0.05 costs \d+ FLOPs per image, over the budget of 11 "):
        found.plan(0.05, budget_flops=11)
