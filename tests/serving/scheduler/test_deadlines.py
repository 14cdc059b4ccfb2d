"""Deadlines: the deepest answer there is by then, or none; nobody waits for what would come too late."""

import math
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import DeadlineError
from serving.events import RequestDone, RequestFailed
from serving.scheduler.deadlines import Deadlines
from serving.scheduler.exit_rules import DeadlineRule, nobody_leaves
from serving.scheduler.request import Constraints, Request, Row
from tests.serving.fakes import Clock
from tests.serving.tables import EXIT_FLOPS, EXITS, TableScheduler, random_table

START = Clock().now
STAGE_SECONDS = 0.01


def due(seconds: float) -> Constraints:
    """Terms of a request that is to be answered so many seconds after the clock's start."""
    return Constraints(80.0, (), "deadline", answer_at=START + seconds, deadline_at=START + seconds)


def deep(max_batch: int = 4) -> TableScheduler:
    """Nobody leaves early, and no stage is started that takes longer than there is time."""
    return TableScheduler(
        random_table(64, seed=0),
        nobody_leaves,
        start=lambda clock: DeadlineRule(lambda stage, rows: STAGE_SECONDS, clock),
        max_batch=max_batch,
    )


def rows(*numbers: int) -> tuple[np.ndarray]:
    return (np.array(numbers, np.int64),)


@pytest.mark.parametrize(("seconds", "exit_index"), [(0.015, 0), (0.025, 1), (0.035, 2), (0.1, 3)])
def test_a_row_leaves_with_the_deepest_exit_that_is_done_in_time(seconds: float, exit_index: int) -> None:
    fixture = deep()
    request = fixture.scheduler.submit(rows(1), due(seconds))
    fixture.drain()
    assert request.future.result(0) == [exit_index]
    assert fixture.clock.now <= START + seconds
    assert [stage for stage, _ in fixture.ran] == list(range(exit_index + 1))
    assert fixture.scheduler.waiting_rows == 0
    done = [event for event in fixture.events if isinstance(event, RequestDone)]
    assert [(event.kind, event.flops) for event in done] == [("deadline", (EXIT_FLOPS[exit_index],))]


def test_a_row_that_cannot_finish_the_first_stage_is_not_started() -> None:
    fixture = deep()
    request = fixture.scheduler.submit(rows(1, 2), due(0.005))
    other = fixture.scheduler.submit(rows(3), Constraints(80.0, ()))
    fixture.drain()
    with pytest.raises(DeadlineError, match="no exit was done for 2 of 2 images"):
        request.future.result(0)
    assert other.future.result(0) == [EXITS - 1]
    assert {number for _, numbers in fixture.ran for number in numbers} == {3}
    assert fixture.scheduler.waiting_rows == 0


def test_answers_are_taken_when_they_are_due_even_while_the_rows_wait() -> None:
    fixture = deep(max_batch=1)
    request = fixture.scheduler.submit(rows(1, 2), due(1.0))
    for _ in range(3):  # the deepest full batch first: row 1 is ahead, row 2 has been nowhere
        fixture.scheduler.step()
    assert fixture.scheduler.seconds_to_answer == pytest.approx(1 - 0.03)
    fixture.clock.now = START + 1
    assert fixture.scheduler.seconds_to_answer == 0
    fixture.scheduler.answer_due()
    with pytest.raises(DeadlineError, match="1 of 2"):
        request.future.result(0)
    assert fixture.scheduler.seconds_to_answer == math.inf
    fixture.drain()
    assert fixture.scheduler.waiting_rows == 0
    assert [type(event) for event in fixture.events if not hasattr(event, "queue_seconds")] == [RequestFailed]


def test_what_comes_after_the_answer_was_taken_does_not_change_it() -> None:
    fixture = deep()
    request = fixture.scheduler.submit(rows(1), due(1.0))
    fixture.scheduler.step()
    fixture.clock.now = START + 1
    fixture.scheduler.answer_due()
    answer, _ = request.take()
    fixture.drain()
    assert request.future.result(0) == list(answer) == [0]
    assert fixture.scheduler.waiting_rows == 0


def test_a_group_whose_last_row_may_not_start_goes_on_without_it() -> None:
    allowed = [True]

    def start(stage: int, rows: Sequence[Row]) -> np.ndarray:
        return np.array([stage != 1 or row.position == 0 or allowed[0] for row in rows])

    fixture = TableScheduler(random_table(8, 0), nobody_leaves, start=lambda _: start, max_batch=1)
    request = fixture.scheduler.submit(rows(0, 1), Constraints(80.0, ()), barrier=True)
    for _ in range(3):
        fixture.scheduler.step()
    allowed[0] = False
    fixture.drain()
    assert request.future.result(0) == [EXITS - 1, 0]
    assert fixture.scheduler.waiting_rows == 0


@given(
    st.lists(st.tuples(st.integers(1, 5), st.floats(0.001, 0.3), st.booleans()), min_size=1, max_size=8),
    st.integers(1, 6),
)
@settings(max_examples=60, deadline=None)
def test_everybody_is_answered_in_time_with_all_that_was_done(
    asked: list[tuple[int, float, bool]], max_batch: int
) -> None:
    fixture = deep(max_batch)
    sent = [
        fixture.scheduler.submit(rows(*range(size)), due(seconds), barrier=barrier)
        for size, seconds, barrier in asked
    ]
    ended: dict[int, float] = {}

    def note(index: int, _: Future[list[int]]) -> None:
        ended[index] = fixture.clock.now

    for index, request in enumerate(sent):
        request.future.add_done_callback(partial(note, index))
    while fixture.scheduler.step():
        fixture.scheduler.answer_due()
    for index, ((_, seconds, _), request) in enumerate(zip(asked, sent, strict=True)):
        assert ended[index] <= START + seconds + STAGE_SECONDS  # no more than the stage that was under way
        error = request.future.exception(0)
        assert error is None or isinstance(error, DeadlineError)
        assert (-1 in request.exits) == (error is not None)
    assert fixture.scheduler.waiting_rows == 0
    assert not fixture.scheduler.has_work


def test_the_heap_knows_who_is_next_and_forgets_who_is_over() -> None:
    deadlines = Deadlines()
    requests: list[Request[None]] = [
        Request(1, due(seconds), barrier=False, admitted_at=0) for seconds in (3, 1, 2, math.inf)
    ]
    for request in requests:
        deadlines.add(request)
    assert deadlines.next_answer_at == START + 1
    requests[2].cancel()
    assert deadlines.due(START + 2) == [requests[1]]
    assert deadlines.due(START + 9) == [requests[0]]
    assert not deadlines
    assert deadlines.next_answer_at == math.inf


def test_requests_that_are_over_do_not_pile_up_until_a_far_deadline() -> None:
    deadlines = Deadlines()
    for _ in range(1000):
        request: Request[None] = Request(1, due(3600), barrier=False, admitted_at=0)
        deadlines.add(request)
        request.cancel()
    assert len(deadlines._heap) <= 64
