"""Budgets in time: thresholds on the stages' measured costs, beside those in FLOPs."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from serving.bundle import Bundle
from serving.errors import BudgetError
from serving.monitoring.brownout import BrownOut
from serving.monitoring.controller import BudgetController
from serving.options import ClassifyOptions, ServingConfig
from serving.planner import Planner, nanoseconds
from tests.bundles import EXIT_FLOPS, tiny_bundle

EXIT_SECONDS = (0.004, 0.005, 0.010)  # the first stage has most of the time and least of the FLOPs


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def planner(bundle: Bundle) -> Planner:
    return Planner(bundle, ServingConfig(), None, exit_seconds=EXIT_SECONDS)


def test_a_plan_in_time_keeps_the_time_and_says_both(planner: Planner) -> None:
    plan = planner.plan("7ms")
    assert plan.budget_seconds == pytest.approx(0.007)
    assert plan.expected_seconds == pytest.approx(float(plan.shares @ np.array(EXIT_SECONDS)))
    assert plan.expected_flops == pytest.approx(float(plan.shares @ np.array(EXIT_FLOPS)))
    assert plan.expected_seconds == pytest.approx(0.007, rel=0.1)  # on images that it was not fitted on
    assert plan.judged_on == "held out"


def test_a_plan_in_flops_says_its_time_where_the_stages_were_timed(planner: Planner, bundle: Bundle) -> None:
    plan = planner.plan("60%")
    assert plan.budget_seconds is None
    assert plan.expected_seconds == pytest.approx(float(plan.shares @ np.array(EXIT_SECONDS)))
    assert Planner(bundle, ServingConfig(), None).plan("60%").expected_seconds is None


def test_thresholds_are_monotone_in_time_and_end_at_the_cheapest_and_the_last_exit(planner: Planner) -> None:
    plans = [planner.plan(f"{ms}ms") for ms in (4, 5, 6, 8, 10, 50)]
    for plan, richer in pairwise(plans):
        assert np.all(plan.thresholds <= richer.thresholds)
    assert plans[0].shares.tolist() == [1, 0, 0]
    assert plans[-1].shares.tolist() == [0, 0, 1]
    assert plans[-1].budget_seconds == pytest.approx(EXIT_SECONDS[-1])


def test_terms_carry_the_time_and_what_such_thresholds_cost_in_flops(planner: Planner) -> None:
    terms = planner.terms(ClassifyOptions(budget="7ms"), 0.0)
    assert (terms.kind, terms.planned_flops) == ("average", None)
    assert terms.time is not None
    assert (terms.time.seconds, terms.time.planned_seconds) == pytest.approx((0.007, 0.007))
    assert EXIT_FLOPS[0] < terms.budget_flops < EXIT_FLOPS[-1]
    assert planner.terms(ClassifyOptions(budget="7ms"), 0.0) is terms
    assert planner.terms(ClassifyOptions(budget="50%"), 0.0).time is None


def test_the_loop_of_time_corrects_times_alone(bundle: Bundle) -> None:
    loop = BudgetController("tiny", nanoseconds(EXIT_SECONDS), of_time=True)
    planner = Planner(bundle, ServingConfig(), None, exit_seconds=EXIT_SECONDS, time_controller=loop)
    before = planner.terms(ClassifyOptions(budget="7ms"), 0.0)
    loop.learn(7e6, [10_000_000] * 4000)
    after = planner.terms(ClassifyOptions(budget="7ms"), 0.0)
    assert before.time is not None
    assert after.time is not None
    assert after.time.seconds == before.time.seconds
    assert after.time.planned_seconds is not None
    assert after.time.planned_seconds < 0.006
    assert after.budget_flops == before.budget_flops
    assert planner.terms(ClassifyOptions(budget="60%"), 0.0).planned_flops == 0.6 * EXIT_FLOPS[-1]


def test_times_go_with_hard_budgets_deadlines_and_guarantees(planner: Planner) -> None:
    hard = planner.terms(ClassifyOptions(budget="7ms", mode="hard"), 0.0)
    assert hard.kind == "hard"
    assert hard.time is not None
    assert hard.time.seconds == pytest.approx(0.007)
    due = planner.terms(ClassifyOptions(budget="7ms", deadline_seconds=1.0), 0.0)
    assert (due.kind, due.deadline_at, due.time is None) == ("deadline", 1.0, False)
    capped = planner.terms(ClassifyOptions(budget="10ms", max_drop=0.2), 0.0)
    assert capped.kind == "guarantee"
    assert capped.time is not None
    assert capped.time.seconds == pytest.approx(0.01)
    free = planner.terms(ClassifyOptions(max_drop=0.2), 0.0)
    assert capped.thresholds == free.thresholds
    assert planner.guarantee(0.2, "10ms").plan.expected_seconds is not None


def test_a_guarantee_over_its_cap_in_time_is_refused_with_both(planner: Planner) -> None:
    with pytest.raises(BudgetError, match=r"max_drop=0.05 takes .* ms per image .*over the budget of 4.1 ms"):
        planner.guarantee(0.05, "4.1ms")


def test_a_brown_out_lowers_times(bundle: Bundle) -> None:
    now = [0.0]
    brownout = BrownOut("tiny", waiting=lambda: 1000, mark=10, floor=0.25, clock=lambda: now[0])
    planner = Planner(bundle, ServingConfig(), None, brownout, exit_seconds=EXIT_SECONDS)
    ask = ClassifyOptions(budget="9ms", priority="low")
    for _ in range(100):
        planner.terms(ask, 0.0)
        now[0] += 0.1
        brownout.look()
    lowered = planner.terms(ask, 0.0)
    assert lowered.time is not None
    assert lowered.time.seconds == pytest.approx(EXIT_SECONDS[0])  # the floor is under the cheapest exit
    assert lowered.budget_share == pytest.approx(4 / 9)


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        ("3ms", "under the cheapest exit: exit 1 takes 4 ms per image on this machine"),
        ("0ms", "positive, finite"),
        ("-8ms", "positive, finite"),
        ("8m", "unknown unit"),
    ],
)
def test_times_that_buy_nothing_are_refused(planner: Planner, budget: str, reason: str) -> None:
    with pytest.raises(BudgetError, match=reason):
        planner.plan(budget)


def test_without_measured_stages_there_are_no_times(bundle: Bundle) -> None:
    with pytest.raises(BudgetError, match="no stage was timed here"):
        Planner(bundle, ServingConfig(), None).plan("8ms")


def test_the_default_budget_may_be_a_time(tmp_path: Path) -> None:
    rules = ServingConfig(default_budget="7ms")
    planner = Planner(tiny_bundle(tmp_path / "tiny"), rules, None, exit_seconds=EXIT_SECONDS)
    assert planner.terms(ClassifyOptions(), 0.0).time is not None
