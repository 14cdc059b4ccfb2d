import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.schedules import LOSS_WEIGHTINGS, sdn_tau

PUBLISHED = [0.15, 0.3, 0.45, 0.6, 0.75, 0.9]


def test_seven_exits_have_the_published_numbers() -> None:
    for epoch in (0, 30, 99):
        expected = [min(c, 0.01 + epoch * c / 100) for c in PUBLISHED]
        assert sdn_tau(7, epoch, 100) == pytest.approx([*expected, 1.0])


def test_the_ceiling_is_never_passed() -> None:
    assert sdn_tau(7, 100, 100) == pytest.approx([*PUBLISHED, 1.0])


@given(st.integers(1, 12), st.integers(1, 300), st.data())
def test_weights_rise_with_depth_and_time_and_end_in_one(
    exits: int, epochs: int, data: st.DataObject
) -> None:
    epoch = data.draw(st.integers(0, epochs - 1))

    weights = sdn_tau(exits, epoch, epochs)

    assert len(weights) == exits
    assert list(weights) == sorted(weights)
    assert weights[-1] == 1
    assert all(0 < w <= later for w, later in zip(weights, sdn_tau(exits, epoch + 1, epochs), strict=True))


def test_the_names_that_flags_use() -> None:
    assert sorted(LOSS_WEIGHTINGS) == ["plain", "sdn-tau"]
    assert LOSS_WEIGHTINGS["plain"](3, 5, 10) == (1, 1, 1)
