"""Stage queues: what goes in comes out in order, wherever the buffers had to move it."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.scheduler.request import Constraints, Request, Row
from serving.scheduler.stage_queue import StageQueue

REQUEST: Request[None] = Request(10**6, Constraints(1.0, ()), barrier=False, admitted_at=0.0)


def numbered(start: int, count: int, since: float = 0.0) -> tuple[list[Row], tuple[np.ndarray, ...]]:
    """Rows that wait since then, and two tensors, in each of which a row holds its own number."""
    numbers = np.arange(start, start + count)
    tensors = (numbers.astype(np.float32)[:, None] * np.ones((1, 3), np.float32), numbers.astype(np.int64))
    return [Row(REQUEST, int(number), since) for number in numbers], tensors


@given(moves=st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60), keep_rows=st.integers(1, 16))
def test_rows_come_out_in_order_with_their_own_tensors(moves: list[tuple[bool, int]], keep_rows: int) -> None:
    queue, expected, pushed = StageQueue(keep_rows), deque[int](), 0
    for pushing, count in moves:
        if pushing:
            rows, tensors = numbered(pushed, count)
            queue.push(rows, tensors, None, now=float(pushed))
            expected.extend(range(pushed, pushed + count))
            pushed += count
        else:
            rows, views = queue.pop(count)
            numbers = [expected.popleft() for _ in range(min(count, len(expected)))]
            assert [row.position for row in rows] == numbers
            if rows:
                wide, narrow = views
                assert wide.flags.c_contiguous
                np.testing.assert_array_equal(wide, np.array(numbers, np.float32)[:, None] * np.ones((1, 3)))
                np.testing.assert_array_equal(narrow, numbers)
        assert len(queue) == len(expected)


def test_survivors_are_picked_and_merged_behind_those_of_other_batches() -> None:
    queue = StageQueue()
    for start, chosen, now in ((0, [1, 3], 1.0), (10, [0, 4], 2.0)):
        rows, tensors = numbered(start, 5)
        queue.push([rows[index] for index in chosen], tensors, np.array(chosen), now)
    assert queue.load(now=1.5).oldest_age_seconds == 0.5
    rows, (wide, narrow) = queue.pop(9)
    positions = [row.position for row in rows]
    assert positions == narrow.tolist() == wide[:, 0].tolist()
    assert (sorted(positions[:2]), sorted(positions[2:])) == ([1, 3], [10, 14])
    assert [row.queued_at for row in rows] == [1.0, 1.0, 2.0, 2.0]


def test_survivors_close_up_in_place_while_nobody_waits_and_others_join_in_the_gaps() -> None:
    queue = StageQueue(keep_rows=8)
    rows, tensors = numbered(0, 6)
    queue.push([rows[index] for index in (0, 1, 4)], tensors, np.array([0, 1, 4]), now=0.0)
    queue.push(*numbered(10, 2), None, now=0.0)
    joined, (wide, narrow) = queue.pop(9)
    assert wide.base is tensors[0]
    assert [row.position for row in joined] == narrow.tolist() == wide[:, 0].tolist() == [0, 1, 4, 10, 11]


def test_survivors_of_tensors_that_may_not_be_changed_are_copied() -> None:
    queue = StageQueue(keep_rows=8)
    rows, tensors = numbered(0, 4)
    for tensor in tensors:
        tensor.flags.writeable = False
    queue.push(rows[2:], tensors, np.array([2, 3]), now=0.0)
    assert queue.pop(9)[1][1].tolist() == [2, 3]
    assert tensors[1].tolist() == [0, 1, 2, 3]


def test_a_batch_is_a_view_not_a_copy() -> None:
    queue = StageQueue(keep_rows=8)
    queue.push(*numbered(0, 4), None, now=0.0)
    _, (first, _) = queue.pop(2)
    _, (second, _) = queue.pop(2)
    assert first.base is not None
    assert first.base is second.base


def test_large_buffers_are_given_back_when_the_queue_runs_empty() -> None:
    def largest_buffer(rows: int) -> int:
        queue.push(*numbered(0, 1), None, now=0.0)
        queue.push(*numbered(1, rows - 1), None, now=0.0)
        _, (wide, _) = queue.pop(rows)
        assert wide.base is not None
        return len(wide.base)

    queue = StageQueue(keep_rows=8)
    assert largest_buffer(100) >= 100
    assert largest_buffer(2) == 8


def test_a_batch_that_survives_whole_is_not_copied_and_never_written_to() -> None:
    queue = StageQueue(keep_rows=8)
    rows, tensors = numbered(0, 4)
    queue.push(rows, tensors, np.arange(4), now=0.0)
    _, (popped, _) = queue.pop(3)
    assert popped.base is tensors[0]
    queue.push(*numbered(10, 2), None, now=0.0)
    queue.push(*numbered(12, 1), None, now=0.0)
    assert queue.pop(9)[1][1].tolist() == [3, 10, 11, 12]
    assert tensors[1].tolist() == [0, 1, 2, 3]


def test_parts_are_put_one_behind_the_other() -> None:
    queue = StageQueue(keep_rows=4)
    (first, one), (second, two), (third, three) = (
        numbered(0, 1, 1.0),
        numbered(1, 3, 2.0),
        numbered(4, 2, 2.0),
    )
    queue.push_all(first, [one])
    queue.push_all([*second, *third], [two, three])
    rows, (_, narrow) = queue.pop(9)
    assert [row.position for row in rows] == narrow.tolist() == [0, 1, 2, 3, 4, 5]
    assert [row.queued_at for row in rows] == [1.0] + [2.0] * 5


def test_a_part_unlike_those_before_is_refused_and_changes_nothing() -> None:
    queue = StageQueue()
    queue.push(*numbered(0, 2), None, now=0.0)
    (rows, fine), (more, _) = numbered(2, 1), numbered(3, 1)
    with pytest.raises(ValueError, match="expected tensors of"):
        queue.push_all([*rows, *more], [fine, (np.zeros((1, 9)), np.zeros(1))])
    assert [row.position for row in queue.pop(9)[0]] == [0, 1]


@pytest.mark.parametrize(
    "tensors",
    [
        (np.zeros((2, 4), np.float32), np.zeros(2, np.int64)),
        (np.zeros((2, 3), np.float64), np.zeros(2, np.int64)),
        (np.zeros((2, 3), np.float32),),
        (np.zeros((2, 3), np.float32), np.zeros(3, np.int64)),
    ],
)
def test_tensors_unlike_those_before_are_refused_and_change_nothing(tensors: tuple[np.ndarray, ...]) -> None:
    queue = StageQueue()
    queue.push(*numbered(0, 3), None, now=0.0)
    with pytest.raises(ValueError, match="expected tensors of"):
        queue.push(numbered(5, 2)[0], tensors, None, now=1.0)
    assert [row.position for row in queue.pop(9)[0]] == [0, 1, 2]


def test_the_tensors_of_all_rows_can_be_seen_and_changed() -> None:
    queue = StageQueue()
    assert list(queue.tensors) == []
    queue.push(*numbered(0, 4), None, now=0.0)
    queue.pop(1)
    _, narrow = queue.tensors
    assert narrow.tolist() == [1, 2, 3]
    narrow += 10
    assert queue.pop(3)[1][1].tolist() == [11, 12, 13]
