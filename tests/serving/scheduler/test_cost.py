"""The cost model: predictions between, below and beyond what was seen, and what changes them."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.events import RequestRefused, StageRan
from serving.interfaces import FloatArray, Tensors
from serving.scheduler.cost import CostModel, exit_seconds, measure
from tests.serving.fakes import Clock


def learned(*measurements: tuple[int, float]) -> CostModel:
    model = CostModel(stages=2)
    for rows, seconds in measurements:
        model.learn(1, rows, seconds)
    return model


@pytest.mark.parametrize(
    ("rows", "seconds"), [(1, 0.1), (2, 0.15), (3, 0.2), (6, 0.35), (8, 0.45), (16, 0.9)]
)
def test_lines_join_what_was_seen_and_what_is_larger_grows_with_the_rows(rows: int, seconds: float) -> None:
    assert learned((1, 0.1), (4, 0.25), (8, 0.45)).most_seconds(1, rows) == pytest.approx(seconds)


def test_under_the_smallest_size_nothing_is_cheaper() -> None:
    assert learned((8, 0.4)).most_seconds(1, 1) == 0.4


def test_a_size_between_two_powers_counts_for_the_larger_one() -> None:
    assert learned((6, 0.3)).most_seconds(1, 8) == pytest.approx(0.4)


def test_nothing_is_known_of_a_stage_that_never_ran_so_that_it_may_run() -> None:
    assert learned((1, 0.1)).most_seconds(0, 32) == 0


def test_it_moves_towards_what_it_sees_and_is_careful_while_that_varies() -> None:
    model = learned((4, 0.1))
    model(StageRan("m", stage=1, rows=4, seconds=0.3, queue_seconds=()))
    assert 0.15 < model.most_seconds(1, 4) < 0.3
    for _ in range(100):
        model(StageRan("m", stage=1, rows=4, seconds=0.3, queue_seconds=()))
    assert model.most_seconds(1, 4) == pytest.approx(0.3, rel=1e-4)
    model(RequestRefused("BudgetError"))
    assert model.most_seconds(1, 4) == pytest.approx(0.3, rel=1e-4)


def run_chosen(model: CostModel, truth: dict[int, float], times: int) -> list[int]:
    """Run a stage that 32 rows always wait for; return the sizes that were chosen."""
    chosen = []
    for _ in range(times):
        chosen.append(model.expected(1).cheapest_rows(32))
        model.learn(1, chosen[-1], truth[chosen[-1]])
    return chosen


def test_a_size_that_a_busy_machine_made_look_slow_is_tried_again() -> None:
    truth = {1: 0.002, 8: 0.010, 32: 0.030}
    model = learned((1, truth[1]), (8, truth[8]), (32, 3 * truth[32]))
    assert model.expected(1).efficient_rows == 8
    assert run_chosen(model, truth, 3000)[-1] == 32
    for rows in (8, 32) * 50:  # both are run now
        model.learn(1, rows, truth[rows])
    assert model.expected(1).efficient_rows == 32
    assert model.most_seconds(1, 32) == pytest.approx(truth[32], rel=0.05)


def test_a_size_that_is_slow_indeed_is_tried_seldom() -> None:
    truth = {1: 0.002, 8: 0.010, 32: 0.080}
    chosen = run_chosen(learned(*truth.items()), truth, 10_000)
    assert 0 < chosen.count(32) < 100


@given(
    st.lists(st.tuples(st.integers(1, 64), st.floats(1e-4, 1)), min_size=1, max_size=20), st.integers(1, 300)
)
@settings(deadline=None)
def test_predictions_are_positive_and_finite(measurements: list[tuple[int, float]], rows: int) -> None:
    assert 0 < learned(*measurements).most_seconds(1, rows) < np.inf


def test_warming_up_takes_the_quicker_of_two_runs_of_every_stage_and_size() -> None:
    clock = Clock()
    runs: list[tuple[int, int]] = []

    def run(stage: int, inputs: Tensors) -> tuple[np.ndarray, Tensors]:
        rows = len(inputs[0])
        first = (stage, rows) not in runs
        runs.append((stage, rows))
        clock.now += (stage + 1) * rows * 0.01 + first  # the first run of a size is a second slower
        return np.full((rows, 2), 0.5, np.float32), (inputs[0],)

    model = measure(run, (2, 2, 3), stages=2, sizes=(1, 8), clock=clock)
    assert runs == [(s, n) for n in (1, 8) for s in (0, 0, 1, 1)]
    assert model.most_seconds(0, 8) == pytest.approx(0.08)
    assert model.most_seconds(1, 1) == pytest.approx(0.02)


def test_warming_up_ends_before_a_size_that_would_take_too_long() -> None:
    """A row takes 0.2 s: sizes 1, 2 and 4 take 2.8 s together, 8 would take another 3.2."""
    clock = Clock()
    started = clock.now
    sizes: list[int] = []

    def run(stage: int, inputs: Tensors) -> tuple[np.ndarray, Tensors]:
        sizes.append(len(inputs[0]))
        clock.now += 0.1 * len(inputs[0])
        return np.full((len(inputs[0]), 2), 0.5, np.float32), (inputs[0],)

    measure(run, (2, 2, 3), stages=2, sizes=(1, 2, 4, 8, 16, 32), clock=clock)
    assert sorted(set(sizes)) == [1, 2, 4]
    assert clock.now - started == pytest.approx(2.8)


def test_a_slow_batch_does_not_close_a_stage_for_good() -> None:
    model = learned((1, 0.01), (1, 10.0))
    assert model.most_seconds(1, 1) > 1

    for _ in range(80):  # nobody may start, so nothing runs and nothing is learned
        model.invalidate(1)

    assert model.most_seconds(1, 1) == pytest.approx(0.01, rel=0.05)


def test_what_exits_take_is_compute_and_not_the_wait_for_a_core() -> None:
    """The clock runs ten times as quickly as the processor works: the cores are busy with others."""
    now = [0.0]

    def run(stage: int, inputs: Tensors) -> tuple[FloatArray, Tensors]:
        now[0] += (stage + 1) * len(inputs[0])
        return np.zeros((len(inputs[0]), 2), np.float32), inputs

    for clock, processor in ((10, 1), (1, 2)):  # cores that are busy with others; two threads

        def times(factor: int) -> float:
            return factor * now[0]

        model = measure(
            run,
            (1, 1, 3),
            2,
            (1, 2),
            clock=partial(times, clock),
            processor=partial(times, processor),
        )
        assert exit_seconds(model, 2) == (1.0, 3.0)
    assert exit_seconds(CostModel(2), 2) == ()
