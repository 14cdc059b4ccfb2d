"""Heads that nobody could leave at do not run, and what goes straight to the end goes there at once."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import EngineError
from serving.events import RequestDone, StageRan
from serving.policy.confidence import HIGHEST_SCORE, MEASURES, score
from serving.policy.threshold_path import EVERYBODY_LEAVES, NOBODY_LEAVES
from serving.scheduler.head_skipping import next_exits
from serving.scheduler.request import Constraints, Request
from tests.serving.fakes import STAGES, Answers, Fixture

ANYWHERE = Constraints(25.0, (), next_exits=(0, 1, 2))
LATER = Constraints(25.0, (), next_exits=(1, 1, 2))
STRAIGHT = Constraints(25.0, (), next_exits=(2, 2, 2))


@pytest.fixture
def fixture() -> Fixture:
    return Fixture(shortcuts=True)


def send(
    fixture: Fixture, terms: Constraints, *exits: int, barrier: bool = False
) -> tuple[Request[Answers], Answers]:
    inputs, expected = fixture.inputs(exits)
    return fixture.scheduler.submit(inputs, terms, barrier=barrier), expected


def skipped(fixture: Fixture) -> list[tuple[int, tuple[int, ...]]]:
    return [(event.stage, event.skipped_heads) for event in fixture.events if isinstance(event, StageRan)]


@pytest.mark.parametrize(
    ("thresholds", "expected"),
    [
        ((0.5, 0.5, -math.inf), (0, 1, 2)),
        ((NOBODY_LEAVES, 0.5, -math.inf), (1, 1, 2)),
        ((0.5, NOBODY_LEAVES, -math.inf), (0, 2, 2)),
        ((NOBODY_LEAVES, NOBODY_LEAVES, -math.inf), (2, 2, 2)),
        ((EVERYBODY_LEAVES, HIGHEST_SCORE, -math.inf), (0, 1, 2)),
        ((-math.inf,), (0,)),
    ],
)
def test_golden_next_exits(thresholds: tuple[float, ...], expected: tuple[int, ...]) -> None:
    assert next_exits(thresholds) == expected


@given(
    st.sampled_from(MEASURES),
    st.floats(0.05, 20),
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=9),
)
def test_no_score_is_above_the_highest(measure: str, temperature: float, weights: list[float]) -> None:
    row = np.array([weights], np.float32)
    row = row / row.sum() if row.sum() > 0 else np.eye(1, len(weights), dtype=np.float32)
    found = score(row.astype(np.float32), measure, temperature)
    assert found[0] <= HIGHEST_SCORE < NOBODY_LEAVES


def test_who_goes_straight_to_the_end_runs_through_the_whole_net_at_once(fixture: Fixture) -> None:
    first, expected_first = send(fixture, STRAIGHT, 0, 1)
    second, expected_second = send(fixture, STRAIGHT, 2)
    fixture.drain()
    assert fixture.net.ran == [(STAGES, [0, 1, 2])]
    assert first.future.result(0) == [(number, 2) for number, _ in expected_first]
    assert second.future.result(0) == expected_second
    assert fixture.decided == []
    assert skipped(fixture) == [(STAGES, (0, 1))]
    done = [event for event in fixture.events if isinstance(event, RequestDone)]
    assert [event.exits for event in done] == [(2, 2), (2,)]  # nominal, whatever was saved


def test_a_head_is_skipped_where_nobody_could_leave(fixture: Fixture) -> None:
    request, expected = send(fixture, LATER, 1, 2)
    fixture.drain()
    assert request.future.result(0) == expected
    assert fixture.decided == [(1, [0, 1])]
    assert skipped(fixture) == [(0, (0,)), (1, ()), (2, ())]
    ran = [event for event in fixture.events if isinstance(event, StageRan)]
    assert all(seconds >= 0 for event in ran for seconds in event.queue_seconds)


def test_a_head_runs_for_all_if_one_row_could_leave_there(fixture: Fixture) -> None:
    later, expected_later = send(fixture, LATER, 1)
    anywhere, expected_anywhere = send(fixture, ANYWHERE, 0)
    fixture.drain()
    assert later.future.result(0) == expected_later
    assert anywhere.future.result(0) == expected_anywhere
    assert skipped(fixture)[0] == (0, ())


@pytest.mark.parametrize("barrier", [False, True])
def test_every_head_runs_where_answers_on_the_way_are_wanted(fixture: Fixture, barrier: bool) -> None:
    terms = STRAIGHT if barrier else replace(STRAIGHT, answer_at=1e9)
    request, expected = send(fixture, terms, 2, barrier=barrier)
    fixture.drain()
    assert request.future.result(0) == expected
    assert skipped(fixture) == [(0, ()), (1, ()), (2, ())]


def test_a_deadline_finds_the_answers_of_the_heads_so_far(fixture: Fixture) -> None:
    request, _ = send(fixture, replace(STRAIGHT, answer_at=fixture.clock.now + 0.025), 2)
    fixture.scheduler.step()
    fixture.scheduler.step()
    fixture.clock.now += 1
    fixture.scheduler.answer_due()
    assert request.future.result(0) == [(0, 1)]


def test_survivors_of_a_batch_without_its_head_meet_the_others(fixture: Fixture) -> None:
    send(fixture, LATER, 1, 1)
    fixture.scheduler.step()
    send(fixture, ANYWHERE, 0, 1)
    fixture.drain()
    assert fixture.net.ran == [(0, [0, 1]), (0, [2, 3]), (1, [0, 1, 3])]


def test_a_failure_of_the_whole_net_fails_its_batch_alone(fixture: Fixture) -> None:
    fixture.net.failures.append(RuntimeError("out of cheese"))
    hit, _ = send(fixture, STRAIGHT, 2)
    fixture.drain()
    with pytest.raises(EngineError, match="out of cheese"):
        hit.future.result(0)
    spared, expected = send(fixture, STRAIGHT, 2)
    fixture.drain()
    assert spared.future.result(0) == expected
    assert fixture.scheduler.waiting_rows == 0


def test_an_abandoned_request_is_not_run_straight_either(fixture: Fixture) -> None:
    gone, _ = send(fixture, STRAIGHT, 2)
    gone.cancel()
    fixture.drain()
    assert fixture.net.ran == []
    assert fixture.scheduler.waiting_rows == 0


def test_without_shortcuts_everybody_goes_step_by_step() -> None:
    fixture = Fixture()
    request, expected = send(fixture, STRAIGHT, 2)
    fixture.drain()
    assert request.future.result(0) == expected
    assert skipped(fixture) == [(0, ()), (1, ()), (2, ())]
