"""Hard budgets: the sum is never exceeded, everybody gets an exit, and the least sure go deeper."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.interfaces import Mask
from serving.policy.geometric import geometric_table
from serving.policy.group_path import GroupPath
from serving.policy.plan import PathPolicy, exits_taken
from serving.scheduler.exit_rules import HardBudgetRule, RuleSwitch, ThresholdRule
from serving.scheduler.request import Constraints, Row
from tests.serving.tables import EXIT_FLOPS, EXITS, SCORER, TableScheduler, random_table, scores_of

CALIBRATION = random_table(1000, seed=5)
SCORES = scores_of(CALIBRATION)
PATH = GroupPath(geometric_table(SCORES), SCORES, EXIT_FLOPS)

budgets = st.floats(EXIT_FLOPS[0], EXIT_FLOPS[-1])


def decider() -> RuleSwitch:
    return RuleSwitch(ThresholdRule(SCORER), HardBudgetRule(SCORER, PATH, EXIT_FLOPS))


def spent(exits: Sequence[int]) -> int:
    return sum(EXIT_FLOPS[exit_index] for exit_index in exits)


@given(
    st.lists(st.tuples(st.integers(1, 20), budgets), min_size=1, max_size=5),
    st.integers(1, 7),
    st.integers(0, 10**6),
)
@settings(max_examples=80, deadline=None)
def test_no_request_ever_costs_more_than_its_images_times_its_budget(
    asked: list[tuple[int, float]], max_batch: int, seed: int
) -> None:
    fixture = TableScheduler(random_table(20, seed), decider(), max_batch=max_batch)
    sent = [
        fixture.scheduler.submit((np.arange(size),), Constraints(budget, (), "hard"), barrier=True)
        for size, budget in asked
    ]
    fixture.drain()
    for (size, budget), request in zip(asked, sent, strict=True):
        exits = request.future.result(0)
        assert len(exits) == size
        assert min(exits) >= 0
        assert spent(exits) <= size * budget


@given(
    score=st.lists(st.floats(0, 1), min_size=1, max_size=30),
    stage=st.integers(0, EXITS - 2),
    flops_left=st.floats(0, 3000),
)
@settings(deadline=None)
def test_no_more_go_on_than_can_be_paid_for(score: list[float], stage: int, flops_left: float) -> None:
    step = EXIT_FLOPS[stage + 1] - EXIT_FLOPS[stage]
    goes_on = PATH.choose(stage, np.array(score), flops_left)
    assert goes_on.shape == (len(score),)
    assert goes_on.sum() * step <= flops_left


def test_at_the_cheapest_exits_cost_nobody_goes_on_and_at_full_depth_everybody_does() -> None:
    scores = scores_of(random_table(200, 1))
    assert not PATH.choose(0, scores[:, 0], 0.0).any()
    for stage in range(EXITS - 1):
        ahead = EXIT_FLOPS[-1] - EXIT_FLOPS[stage]
        assert PATH.choose(stage, scores[:, stage], 200.0 * ahead).all()


def test_the_least_sure_go_on_as_many_as_their_whole_way_can_be_paid_for() -> None:
    score = np.array([[0.1, 0.5], [0.2, 0.5], [0.8, 0.5], [0.9, 0.5]])
    path = GroupPath(geometric_table(score), score, (10, 30))
    asked = np.array([0.92, 0.32, 0.91, 0.33, 0.34])
    assert path.choose(0, asked, flops_left=45.0).tolist() == [False, True, False, True, False]
    assert path.choose(0, asked, flops_left=39.9).tolist() == [False, True, False, False, False]
    assert not path.choose(0, asked, flops_left=19.9).any()


def test_who_goes_on_is_paid_for_by_what_such_images_cost_on_average_not_by_the_next_step_alone() -> None:
    """Who leaves exit 1 here is never sure at exit 2 before all are: the step costs 5, the way 25."""
    score = np.stack([np.linspace(0.1, 0.9, 50), np.full(50, 0.2), np.full(50, 0.9)], axis=1)
    table = np.array([[0, 0.3, -np.inf], [0.5, 0.3, -np.inf], [1.01, 0.3, -np.inf]])
    path = GroupPath(table, score, (10, 15, 35))
    assert path.choose(0, np.array([0.2, 0.3, 0.4]), flops_left=60.0).tolist() == [True, True, False]


def test_a_large_request_is_served_as_open_thresholds_of_its_budget_are() -> None:
    """On the calibration's own images the path is followed to the point that the budget buys."""
    right = np.ones(SCORES.shape, np.bool_)
    policy = PathPolicy(SCORES, right, EXIT_FLOPS, geometric_table(SCORES))
    for budget_flops in (15.0, 35.0, 60.0):
        fixture = TableScheduler(CALIBRATION, decider(), max_batch=64)
        rows = np.arange(len(CALIBRATION))
        request = fixture.scheduler.submit((rows,), Constraints(budget_flops, (), "hard"), barrier=True)
        fixture.drain()
        exits = request.future.result(0)
        open_exits = exits_taken(SCORES, policy.plan(budget_flops).thresholds)
        assert 0.98 * budget_flops * len(rows) <= spent(exits) <= budget_flops * len(rows)
        assert (np.array(exits) == open_exits).mean() > 0.97


@given(st.integers(0, 10**6), st.integers(1, 7))
@settings(max_examples=40, deadline=None)
def test_a_rows_exit_depends_on_no_neighbour_unless_its_budget_is_hard(seed: int, max_batch: int) -> None:
    random = np.random.default_rng(seed)
    table = random_table(40, seed)
    scores = scores_of(table)
    fixture = TableScheduler(table, decider(), max_batch=max_batch)
    sent = []
    for _ in range(12):
        numbers = random.integers(0, 40, random.integers(1, 6))
        thresholds = (*np.sort(random.random(EXITS - 1)).tolist(), -np.inf)
        hard = bool(random.random() < 0.3)
        terms = Constraints(30.0, (), "hard") if hard else Constraints(30.0, thresholds)
        sent.append((fixture.scheduler.submit((numbers,), terms, barrier=hard), numbers, thresholds, hard))
        for _ in range(random.integers(0, 4)):
            fixture.scheduler.step()
    fixture.drain()
    for request, numbers, thresholds, hard in sent:
        if not hard:
            alone = exits_taken(scores[numbers], np.array(thresholds)).tolist()
            assert request.future.result(0) == alone


def test_rows_and_groups_are_asked_of_their_own_decider() -> None:
    def everybody(stage: int, rows: Sequence[Row], probabilities: np.ndarray) -> Mask:
        return np.ones(len(rows), np.bool_)

    def nobody(stage: int, rows: Sequence[Row], probabilities: np.ndarray) -> Mask:
        return np.zeros(len(rows), np.bool_)

    fixture = TableScheduler(random_table(4, 0), RuleSwitch(everybody, nobody))
    row = fixture.scheduler.submit((np.arange(2),), Constraints(30.0, ()))
    group = fixture.scheduler.submit((np.arange(2),), Constraints(30.0, ()), barrier=True)
    fixture.drain()
    assert (row.future.result(0), group.future.result(0)) == ([0, 0], [EXITS - 1] * 2)


@pytest.mark.parametrize("rows", [1, 3, 99])
def test_a_small_calibration_still_makes_a_path(rows: int) -> None:
    path = GroupPath(geometric_table(SCORES[:rows]), SCORES[:rows], EXIT_FLOPS)
    for exit_index in range(EXITS - 1):
        step = EXIT_FLOPS[exit_index + 1] - EXIT_FLOPS[exit_index]
        assert path.choose(exit_index, np.array([0.0, 0.5, 1.0]), 3.0 * step).sum() <= 3
        assert not path.choose(exit_index, np.array([0.0, 0.5, 1.0]), step - 0.5).any()
