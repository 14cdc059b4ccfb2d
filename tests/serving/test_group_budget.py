"""Hard budgets: the sum is never exceeded, everybody gets an exit, and who gains most goes deeper."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.deciders import BudgetDecider, RowsOrGroups
from serving.decisions import Mask
from serving.group_budget import GainTable, GroupDecider
from serving.rows import Row, Terms
from serving.thresholds import exits_taken
from tests.serving.tables import EXIT_FLOPS, EXITS, SCORER, TableScheduler, random_table, scores_of

CALIBRATION = random_table(1500, seed=5)
LABELS = np.random.default_rng(6).integers(0, 3, 1500)
LABELS = np.where(np.random.default_rng(7).random(1500) < 0.7, CALIBRATION[:, -1].argmax(1), LABELS)
CORRECT = CALIBRATION.argmax(axis=2) == LABELS[:, None]
TABLE = GainTable(scores_of(CALIBRATION), CORRECT, EXIT_FLOPS)

budgets = st.floats(EXIT_FLOPS[0], EXIT_FLOPS[-1])


def decider() -> RowsOrGroups:
    return RowsOrGroups(BudgetDecider(SCORER), GroupDecider(SCORER, TABLE, EXIT_FLOPS))


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
        fixture.scheduler.submit((np.arange(size),), Terms(budget, (), "hard"), barrier=True)
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
    goes_on = TABLE.choose(stage, np.array(score), flops_left, step)
    assert goes_on.shape == (len(score),)
    assert goes_on.sum() * step <= flops_left


def test_at_the_cheapest_exits_cost_nobody_goes_on_and_at_full_depth_all_who_gain_do() -> None:
    scores = scores_of(random_table(200, 1))[:, 0]
    assert not TABLE.choose(0, scores, 0.0, 15).any()
    gain, flops = TABLE.expect(0, scores, 15)
    assert TABLE.choose(0, scores, 200 * 70.0, 15).tolist() == (gain[0] > 0).tolist()
    assert np.all((flops >= 15) & (flops < 71))


def test_those_with_most_to_gain_go_on() -> None:
    """Two kinds of images: the unsure ones are right only at the end, the sure ones are right at once."""
    random = np.random.default_rng(0)
    unsure = random.random(2000) < 0.5
    score = np.where(unsure, 0.3, 0.9)[:, None] + 0.05 * random.random((2000, 2))
    correct = np.stack([~unsure, np.ones(2000, np.bool_)], axis=1)
    table = GainTable(score, correct, (10, 30))
    goes_on = table.choose(0, np.array([0.92, 0.32, 0.91, 0.33, 0.34]), flops_left=45.0, step_flops=20)
    assert goes_on.tolist() == [False, True, False, True, False]


def test_a_request_spends_what_helps_and_beats_thresholds_at_the_same_cost() -> None:
    pool = random_table(4000, seed=11)
    final = pool[:, -1].argmax(1)
    group: list[int] = []
    rows: list[int] = []
    decide = decider()
    for start in range(0, 4000, 40):
        fixture = TableScheduler(pool[start : start + 40], decide, max_batch=16)
        request = fixture.scheduler.submit((np.arange(40),), Terms(35.0, (), "hard"), barrier=True)
        fixture.drain()
        group += request.future.result(0)
    # Thresholds that cost the same on the whole pool: one number for all exits, by bisection.
    low, high = 0.0, 1.1
    scores = scores_of(pool)
    for _ in range(40):
        middle = (low + high) / 2
        rows = exits_taken(scores, np.array([middle] * 3 + [-np.inf])).tolist()
        low, high = (middle, high) if spent(rows) <= spent(group) else (low, middle)

    def agree(exits: list[int]) -> float:
        return float((pool[np.arange(4000), exits].argmax(1) == final).mean())

    assert spent(group) <= 4000 * 35.0
    assert spent(group) >= 0.93 * 4000 * 35.0
    assert agree(group) > agree(rows) - 0.02


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
        terms = Terms(30.0, (), "hard") if hard else Terms(30.0, thresholds)
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

    fixture = TableScheduler(random_table(4, 0), RowsOrGroups(everybody, nobody))
    row = fixture.scheduler.submit((np.arange(2),), Terms(30.0, ()))
    group = fixture.scheduler.submit((np.arange(2),), Terms(30.0, ()), barrier=True)
    fixture.drain()
    assert (row.future.result(0), group.future.result(0)) == ([0, 0], [EXITS - 1] * 2)


@pytest.mark.parametrize("rows", [1, 3, 99])
def test_a_small_calibration_still_makes_a_table(rows: int) -> None:
    table = GainTable(scores_of(CALIBRATION)[:rows], CORRECT[:rows], EXIT_FLOPS)
    for exit_index in range(EXITS - 1):
        assert np.isfinite(table.expect(exit_index, np.array([0.0, 0.5, 1.0]), 15)).all()
    assert table.choose(0, np.array([0.5]), 15.0, 15).shape == (1,)
