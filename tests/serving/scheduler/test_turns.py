"""Turns between requests: no list, however long, keeps a single image waiting for more than some batches."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serving.scheduler.dispatch import StageLoad
from serving.scheduler.request import Constraints, Request
from serving.scheduler.turns import SHORT_ROWS, Turns

TERMS = Constraints(1.0, ())


def request(turns: Turns, size: int, now: float = 0.0, first: int = 0) -> Request[object]:
    made: Request[object] = Request(size, TERMS, barrier=False, admitted_at=now)
    turns.add(made, (np.arange(first, first + size),), now)
    return made


def test_a_single_image_goes_in_with_the_next_batch() -> None:
    turns = Turns()
    lists = [request(turns, 256) for _ in range(6)]
    turns.take(32)
    single = request(turns, 1)
    taken = turns.take(32).rows + turns.take(32).rows
    assert single in {row.request for row in taken}
    shares = [sum(row.request is one for row in taken) for one in lists]
    assert max(shares) - min(shares) <= 8


@given(st.lists(st.integers(1, 100), max_size=12), st.integers(1, 64))
def test_every_row_goes_in_once_with_its_own_inputs(sizes: list[int], batch: int) -> None:
    """Whatever waits and however it is taken, each row enters exactly once, and with its own input."""
    turns, first = Turns(), 0
    expected: dict[tuple[int, int], int] = {}
    for size in sizes:
        made = request(turns, size, first=first)
        expected |= {(id(made), position): first + position for position in range(size)}
        first += size
    found: dict[tuple[int, int], int] = {}
    while turns:
        taken = turns.take(batch)
        assert 0 < len(taken.rows) <= batch
        inputs = np.concatenate([part[0] for part in taken.parts])
        found |= {(id(row.request), row.position): int(n) for row, n in zip(taken.rows, inputs, strict=True)}
    assert found == expected


def test_short_requests_go_in_as_they_came() -> None:
    turns = Turns()
    made = [request(turns, SHORT_ROWS) for _ in range(3)]
    rows = turns.take(2 * SHORT_ROWS).rows
    assert [row.request for row in rows] == [made[0]] * SHORT_ROWS + [made[1]] * SHORT_ROWS


def test_who_is_gone_makes_room_and_brings_nothing() -> None:
    turns = Turns()
    gone, there = request(turns, 40), request(turns, 1)
    gone.cancel()
    taken = turns.take(8)
    assert [row.request for row in taken.rows] == [there]
    assert len(taken.dropped) == 40
    assert not turns


def test_what_waits_counts_as_load_since_it_came() -> None:
    turns = Turns()
    assert turns.joined(StageLoad(2, 1.0), 5.0, urgent=True) == StageLoad(2, 1.0)
    request(turns, 40, now=3.0)
    assert turns.joined(StageLoad(2, 1.0), 5.0, urgent=False) == StageLoad(42, 2.0, math.inf)
    turns.clear()
    assert not turns
