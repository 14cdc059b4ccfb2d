"""What batches cost: golden values, and that nothing out of range is ever chosen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.scheduler.cost import CLEARLY, BatchCostCurve

KNOWN = st.dictionaries(
    st.sampled_from([1, 2, 4, 8, 16, 32]), st.floats(1e-4, 1, allow_nan=False), min_size=1
)


@pytest.mark.parametrize(
    ("seconds_at", "efficient"),
    [
        ({1: 10.0, 8: 40.0, 32: 158.0}, 8),  # 32 would be no more than 2% cheaper
        ({1: 10.0, 8: 40.0, 32: 120.0}, 32),
        ({1: 1.0, 2: 2.0, 8: 8.0}, 2),  # nothing is gained by company, but 1 is too few to be sure of
        ({1: 1.0, 8: 9.0}, 8),
        ({8: 3.0}, 8),
        ({}, 0),
    ],
)
def test_the_smallest_size_is_efficient_that_costs_no_more_per_row(
    seconds_at: dict[int, float], efficient: int
) -> None:
    assert BatchCostCurve(seconds_at).efficient_rows == efficient


@pytest.mark.parametrize(
    ("seconds_at", "rows", "chosen"),
    [
        ({1: 10.0, 16: 32.0, 32: 96.0}, 32, 16),  # 32 together cost half as much again per row
        ({1: 10.0, 16: 32.0, 32: 64.0}, 32, 32),
        ({1: 10.0, 16: 32.0, 32: 96.0}, 20, 16),
        ({1: 10.0, 16: 32.0}, 9, 9),
        ({16: 32.0}, 3, 3),
        ({}, 5, 5),
    ],
)
def test_as_many_rows_run_as_cost_least_each(seconds_at: dict[int, float], rows: int, chosen: int) -> None:
    assert BatchCostCurve(seconds_at).cheapest_rows(rows) == chosen


@given(KNOWN, st.integers(1, 100))
def test_a_choice_is_some_of_the_rows_and_no_known_size_within_them_is_cheaper(
    seconds_at: dict[int, float], rows: int
) -> None:
    rates = BatchCostCurve(seconds_at)
    chosen = rates.cheapest_rows(rows)
    assert 1 <= chosen <= rows
    per_row = rates.seconds(chosen) / chosen
    for size, seconds in seconds_at.items():
        if size <= rows:
            assert per_row <= seconds / size * (1 + CLEARLY) * (1 + 1e-9)


@given(KNOWN)
def test_the_efficient_size_is_one_that_is_known(seconds_at: dict[int, float]) -> None:
    assert BatchCostCurve(seconds_at).efficient_rows in seconds_at
