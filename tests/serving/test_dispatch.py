"""Which stage runs next: golden cases, and that it is always one with rows."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.dispatch import StageLoad, deepest_full, in_time

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
    assert in_time(loads, dispatch=choose_deepest, seconds=lambda stage, rows: rows / 10) == expected


def test_a_late_row_at_a_deeper_stage_makes_its_batch_smaller() -> None:
    loads = [StageLoad(4, 0.0), StageLoad(8, 0.0, 0.5)]
    assert in_time(loads, dispatch=choose_deepest, seconds=lambda stage, rows: rows / 10) == (1, 4)
