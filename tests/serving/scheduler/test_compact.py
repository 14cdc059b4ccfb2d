"""Closing up: those who stay are at the front, and no more rows are moved than leave."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serving.scheduler.stage_queue import compact


@given(stays=st.lists(st.booleans(), min_size=1, max_size=40))
def test_every_chosen_row_is_at_the_front_once_where_the_order_says(stays: list[bool]) -> None:
    chosen = np.flatnonzero(stays)
    numbers = np.arange(len(stays))
    wide = numbers[:, None] * np.ones((1, 3))
    order = compact((numbers, wide), chosen)
    assert sorted(order) == list(range(len(chosen)))
    assert numbers[: len(chosen)].tolist() == chosen[list(order)].tolist()
    assert wide[: len(chosen), 1].tolist() == numbers[: len(chosen)].tolist()


@given(stays=st.lists(st.booleans(), min_size=1, max_size=40))
def test_rows_that_are_at_the_front_stay_where_they_are(stays: list[bool]) -> None:
    numbers = np.arange(len(stays))
    compact((numbers,), np.flatnonzero(stays))
    moved = np.flatnonzero(numbers != np.arange(len(stays)))
    assert len(moved) <= stays.count(False)
    assert not any(stays[place] for place in moved if place < stays.count(True))
