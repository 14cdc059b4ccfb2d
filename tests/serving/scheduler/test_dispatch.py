"""Which stage runs next: golden cases, and that it is always one with rows."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.scheduler.cost import BatchCostCurve
from serving.scheduler.dispatch import StageLoad, cost_aware, deadline_aware, deepest_full

YOUNG, OLD = 0.01, 0.5


@pytest.mark.parametrize(
    ("loads", "expected"),
    [
        ([(9, YOUNG), (4, YOUNG), (1, YOUNG)], (1, 4)),  # the deepest full batch
        ([(9, OLD), (4, OLD), (1, OLD)], (1, 4)),  # full goes before old
        ([(3, OLD), (2, OLD), (1, YOUNG)], (1, 2)),  # the deepest old one
        ([(0, 0), (3, YOUNG), (1, YOUNG)], (1, 3)),  # the shallowest
        ([(0, 0), (0, 0), (1, YOUNG)], (2, 1)),  # never idle
        ([(9, YOUNG), (0, 0), (0, 0)], (0, 4)),  # never more than a batch
    ],
)
def test_golden_choices(loads: list[tuple[int, float]], expected: tuple[int, int]) -> None:
    chosen = deepest_full([StageLoad(*load) for load in loads], max_batch=4, max_age_seconds=0.1)
    assert chosen == expected


@given(
    loads=st.lists(st.builds(StageLoad, st.integers(0, 50), st.floats(0, 2)), min_size=1, max_size=8).filter(
        lambda loads: any(load.rows for load in loads)
    ),
    max_batch=st.integers(1, 40),
)
def test_the_choice_is_always_rows_that_are_there(loads: list[StageLoad], max_batch: int) -> None:
    stage, size = deepest_full(loads, max_batch=max_batch, max_age_seconds=0.1)
    assert 1 <= size <= min(loads[stage].rows, max_batch)


def choose_deepest(loads: Sequence[StageLoad]) -> tuple[int, int]:
    return max((stage, load.rows) for stage, load in enumerate(loads) if load.rows)


@pytest.mark.parametrize(
    ("slack", "expected"),
    [
        (math.inf, (1, 8)),
        (1.3, (1, 8)),  # 0.8 seconds for stage 2, then 0.4 for stage 1
        (1.1, (0, 4)),
        (0.4, (0, 4)),
        (0.3, (0, 2)),
        (0.05, (0, 4)),  # lost whatever the size
    ],
)
def test_rows_without_an_answer_go_before_rows_that_have_one_when_time_is_short(
    slack: float, expected: tuple[int, int]
) -> None:
    loads = [StageLoad(4, 0.0, slack), StageLoad(8, 0.0)]
    assert deadline_aware(loads, dispatch=choose_deepest, seconds=lambda stage, rows: rows / 10) == expected


def test_a_late_row_at_a_deeper_stage_makes_its_batch_smaller() -> None:
    loads = [StageLoad(4, 0.0), StageLoad(8, 0.0, 0.5)]
    assert deadline_aware(loads, dispatch=choose_deepest, seconds=lambda stage, rows: rows / 10) == (1, 4)


FOUR_IS_ENOUGH = BatchCostCurve({1: 0.004, 4: 0.008, 8: 0.016, 16: 0.048})


@pytest.mark.parametrize(
    ("loads", "expected"),
    [
        ([(9, YOUNG), (4, YOUNG), (1, YOUNG)], (1, 4)),  # the deepest that is worth it
        ([(9, OLD), (4, OLD), (1, OLD)], (1, 4)),  # worth it goes before old
        ([(3, OLD), (2, OLD), (1, YOUNG)], (1, 2)),  # the deepest old one
        ([(4, YOUNG), (3, OLD), (1, YOUNG)], (1, 3)),  # old goes before new ones that are worth it
        ([(4, YOUNG), (3, YOUNG), (1, YOUNG)], (0, 4)),  # new ones that are worth it
        ([(3, YOUNG), (2, YOUNG), (1, YOUNG)], (2, 1)),  # nothing is: whoever is nearest to the end
        ([(3, YOUNG), (0, 0), (0, 0)], (0, 3)),  # new ones wait for nobody
        ([(0, 0), (0, 0), (1, YOUNG)], (2, 1)),  # never idle
        ([(0, 0), (16, YOUNG), (0, 0)], (1, 8)),  # 16 together would cost more each
        ([(0, 0), (0, 0), (16, YOUNG)], (2, 5)),  # never more than the stage may have
    ],
)
def test_costs_choose_the_stage_and_the_size(
    loads: list[tuple[int, float]], expected: tuple[int, int]
) -> None:
    chosen = cost_aware(
        [StageLoad(*load) for load in loads],
        expected=lambda stage: FOUR_IS_ENOUGH,
        most_rows=(16, 16, 5),
        max_age_seconds=0.1,
    )
    assert chosen == expected


@pytest.mark.parametrize(("ages", "expected"), [((YOUNG, OLD), 2), ((OLD, YOUNG), 0)])
@pytest.mark.parametrize(("rows", "ahead"), [(2, 0), (8, 1)])
def test_of_two_entries_the_one_that_waited_longer_goes_first(
    rows: int, ahead: int, ages: tuple[float, float], expected: int
) -> None:
    loads = [StageLoad(rows, ages[0]), StageLoad(ahead, YOUNG), StageLoad(rows, ages[1])]
    stage, _ = cost_aware(
        loads,
        expected=lambda stage: FOUR_IS_ENOUGH,
        most_rows=(8, 8, 8),
        max_age_seconds=1.0,
        entries=(0, 2),
    )
    assert stage == expected


@given(
    loads=st.lists(st.builds(StageLoad, st.integers(0, 50), st.floats(0, 2)), min_size=1, max_size=8).filter(
        lambda loads: any(load.rows for load in loads)
    ),
    seconds_at=st.dictionaries(st.sampled_from([1, 2, 4, 8, 16, 32]), st.floats(1e-4, 1)),
    largest=st.integers(1, 40),
)
def test_costs_never_choose_to_wait_nor_rows_that_are_not_there(
    loads: list[StageLoad], seconds_at: dict[int, float], largest: int
) -> None:
    stage, size = cost_aware(
        loads,
        expected=lambda stage: BatchCostCurve(seconds_at),
        most_rows=[largest] * len(loads),
        max_age_seconds=0.1,
        entries=(0, len(loads) - 1),
    )
    assert 1 <= size <= min(loads[stage].rows, largest)


@pytest.mark.parametrize("busy", [0, 2])
def test_a_lone_row_at_one_entry_is_not_forgotten_while_the_other_is_always_worth_it(busy: int) -> None:
    loads = [StageLoad(1, 2.0), StageLoad(0, 0.0), StageLoad(1, 2.0)]
    loads[busy] = StageLoad(40, 1.9)
    stage, _ = cost_aware(
        loads, expected=lambda stage: FOUR_IS_ENOUGH, most_rows=(8, 8, 8), max_age_seconds=0.1, entries=(0, 2)
    )
    assert stage == 2 - busy


@given(
    arrivals=st.lists(st.sampled_from([None, 0, 3]), min_size=120, max_size=120), share=st.floats(0.1, 1.0)
)
def test_nobody_starves(arrivals: list[int | None], share: float) -> None:
    """A step takes a tenth of a second; in each, a row may come for 0 and then 1 and 2, or for 3 alone."""
    waiting: list[list[float]] = [[], [], [], []]  # when each row joined
    now, longest = 0.0, 0.0
    for arrival in [*arrivals, *[None] * 200]:
        if arrival is not None:
            waiting[arrival].append(now)
        loads = [StageLoad(len(rows), now - rows[0] if rows else 0.0) for rows in waiting]
        if any(load.rows for load in loads):
            stage, size = cost_aware(
                loads,
                expected=lambda stage: FOUR_IS_ENOUGH,
                most_rows=[8] * 4,
                max_age_seconds=0.3,
                entries=(0, 3),
            )
            taken, waiting[stage] = waiting[stage][:size], waiting[stage][size:]
            longest = max(longest, now - taken[0])
            if stage in (0, 1):
                waiting[stage + 1] += [now] * math.ceil(share * len(taken))
        now += 0.1
    assert not any(waiting)
    assert longest < 2


def test_rows_are_not_old_before_full_batches_of_all_stages_could_have_run() -> None:
    loads = [StageLoad(4, YOUNG), StageLoad(1, OLD)]
    ten_times_slower = BatchCostCurve({1: 0.04, 4: 0.08, 8: 0.16, 16: 0.48})
    chosen = [
        cost_aware(loads, expected=lambda stage: rates, most_rows=(16, 16), max_age_seconds=0.1)  # noqa: B023
        for rates in (FOUR_IS_ENOUGH, ten_times_slower)
    ]
    assert chosen == [(1, 1), (0, 4)]
