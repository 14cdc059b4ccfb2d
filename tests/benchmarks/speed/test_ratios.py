import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.speed.ratios import Spread, percentile, ratios


def test_a_slow_round_slows_both_sides_and_not_their_ratio() -> None:
    assert ratios([90.0, 9.0, 45.0], [100.0, 10.0, 50.0]) == Spread(0.9, 0.9, 0.9, 3)


def test_the_middle_is_of_ratios_not_of_rates() -> None:
    spread = ratios([10.0, 20.0, 90.0], [10.0, 10.0, 30.0])
    assert (spread.low, spread.median, spread.high) == (1, 2, 3)


@pytest.mark.parametrize(("over", "under"), [([], []), ([1.0], [1.0, 2.0])])
def test_rounds_that_do_not_pair_are_refused(over: list[float], under: list[float]) -> None:
    with pytest.raises(ValueError, match=r"expected at least one round|shorter|longer"):
        ratios(over, under)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.001, 1))
def test_a_percentile_is_a_value_that_enough_do_not_exceed(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) * (1 - 1e-6)


def test_percentiles_of_a_hundred() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50, 99, 100]
