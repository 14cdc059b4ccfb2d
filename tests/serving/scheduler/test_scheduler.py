"""The scheduler, case by case: merging, ageing, barriers, failures. No threads, no clock but a fake."""

from collections.abc import Sequence
from concurrent.futures import CancelledError

import numpy as np
import pytest

from serving.errors import ClosedError, EngineError, OverloadedError
from serving.events import Event, RequestDone, RequestFailed, StageRan
from serving.scheduler.request import Constraints, Request
from serving.scheduler.resolver import FinishedRequest
from tests.serving.fakes import Answers, Fixture

TERMS = Constraints(budget_flops=25.0, thresholds=())


@pytest.fixture
def fixture() -> Fixture:
    return Fixture()


def send(fixture: Fixture, *exits: int, barrier: bool = False) -> tuple[Request[Answers], Answers]:
    inputs, expected = fixture.inputs(exits)
    return fixture.scheduler.submit(inputs, TERMS, barrier=barrier), expected


def test_every_row_leaves_at_its_exit(fixture: Fixture) -> None:
    request, expected = send(fixture, 2, 0, 1)
    fixture.drain()
    assert request.future.result(0) == expected
    assert not fixture.scheduler.has_work
    assert fixture.scheduler.waiting_rows == 0


def test_nothing_to_do_is_said(fixture: Fixture) -> None:
    assert not fixture.scheduler.has_work
    assert not fixture.scheduler.step()


def test_survivors_of_several_batches_meet_again_at_the_deeper_stage(fixture: Fixture) -> None:
    send(fixture, 1, 0, 0, 1)
    send(fixture, 1, 0, 0, 1)
    fixture.drain()
    assert fixture.net.ran == [(0, [0, 1, 2, 3]), (0, [4, 5, 6, 7]), (1, [0, 3, 4, 7])]


def test_a_lone_row_waits_for_nobody(fixture: Fixture) -> None:
    request, expected = send(fixture, 2)
    for _ in range(3):
        assert fixture.scheduler.step()
    assert request.future.result(0) == expected


def test_old_rows_at_a_deeper_stage_go_before_new_ones(fixture: Fixture) -> None:
    send(fixture, 1)
    fixture.scheduler.step()
    fixture.clock.now += 1
    send(fixture, 0)
    fixture.scheduler.step()
    assert fixture.net.ran == [(0, [0]), (1, [0])]


def test_a_barrier_holds_rows_until_all_of_the_request_are_there(fixture: Fixture) -> None:
    other, expected_other = send(fixture, 0)
    request, expected = send(fixture, 1, 2, 0, 2, 2, 1, barrier=True)
    fixture.drain()
    assert request.future.result(0) == expected
    assert other.future.result(0) == expected_other
    # Batches hold four rows; the six are decided on at once nevertheless, and the stranger without them.
    decided = [(stage, sorted(rows)) for stage, rows in fixture.decided]
    assert decided == [(0, [0]), (0, [1, 2, 3, 4, 5, 6]), (1, [1, 2, 4, 5, 6])]


def test_an_engine_error_fails_the_requests_in_the_batch_and_no_others(fixture: Fixture) -> None:
    crash = RuntimeError("out of cheese")
    hit_too, _ = send(fixture, 0, 2)
    hit, _ = send(fixture, 0, 0, 0)  # its last row is in the next batch
    spared, expected = send(fixture, 1)
    fixture.net.failures.append(crash)
    fixture.drain()
    for request in (hit, hit_too):
        error = request.future.exception(0)
        assert isinstance(error, EngineError)
        assert "stage 1 failed on a batch of 4 images: out of cheese" in str(error)
        assert error.__cause__ is crash
    assert spared.future.result(0) == expected
    assert fixture.net.ran[0] == (0, [5])  # the other row of `hit` was dropped, not run
    assert fixture.scheduler.waiting_rows == 0


def test_a_decider_error_does_the_same(fixture: Fixture) -> None:
    hit, _ = send(fixture, 0, 1, 2, 2)
    spared, expected = send(fixture, 1)
    fixture.decider_failures.append(ZeroDivisionError("no"))
    fixture.drain()
    assert isinstance(hit.future.exception(0), EngineError)
    assert spared.future.result(0) == expected
    assert fixture.scheduler.waiting_rows == 0


@pytest.mark.parametrize("wrong", [np.array([1, 0]), np.array([True])])
def test_a_decision_of_the_wrong_kind_is_an_error(
    fixture: Fixture, wrong: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fixture.scheduler, "_decide", lambda *_: wrong)
    request, _ = send(fixture, 1, 1)
    fixture.drain()
    assert "expected a decision bool [2]" in str(request.future.exception(0))


def test_outputs_of_the_wrong_length_are_an_error(fixture: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixture.scheduler, "_run", lambda *_: (np.zeros((3, 2), np.float32), ()))
    request, _ = send(fixture, 1, 1)
    fixture.drain()
    assert "expected outputs of 2 rows, found [3]" in str(request.future.exception(0))


def test_features_that_do_not_fit_the_queue_are_an_error(
    fixture: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, expected = send(fixture, 1)
    fixture.scheduler.step()
    with monkeypatch.context() as patch:
        patch.setattr(
            fixture.scheduler, "_run", lambda *_: (np.full((1, 3), 9, np.float32), (np.zeros((1, 7)),))
        )
        request, _ = send(fixture, 1)
        fixture.scheduler.step()
    fixture.drain()
    assert "expected tensors of" in str(request.future.exception(0))
    assert held.future.result(0) == expected


def test_an_answer_that_cannot_be_made_fails_its_request_only(
    fixture: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(requests: Sequence[FinishedRequest]) -> list[Answers]:
        if any(len(request.exits) == 2 for request in requests):
            raise KeyError("class")
        return [[] for _ in requests]

    monkeypatch.setattr(fixture.scheduler._resolver, "_answer", answer)
    broken, _ = send(fixture, 0, 0)
    fine, _ = send(fixture, 0)
    fixture.drain()
    assert isinstance(broken.future.exception(0), EngineError)
    assert fine.future.result(0) == []


def test_an_abandoned_request_costs_nothing_more_and_frees_its_room(fixture: Fixture) -> None:
    early, _ = send(fixture, 2, 2)
    fixture.scheduler.step()
    late, _ = send(fixture, 2)
    early.cancel()
    late.cancel()
    fixture.drain()
    assert fixture.net.ran == [(0, [0, 1])]
    assert fixture.scheduler.waiting_rows == 0
    failures = [event for event in fixture.events if isinstance(event, RequestFailed)]
    assert sorted(event.rows for event in failures) == [1, 2]
    assert {event.error for event in failures} == {"CancelledError"}
    with pytest.raises(CancelledError):
        early.future.result(0)


def test_rows_held_at_a_barrier_are_dropped_with_their_request(fixture: Fixture) -> None:
    request, _ = send(fixture, 1, 1, 1, 1, 1, 1, barrier=True)
    fixture.scheduler.step()
    request.cancel()
    fixture.drain()
    assert fixture.scheduler.waiting_rows == 0
    assert fixture.decided == []


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    fixture = Fixture(capacity=4)
    send(fixture, 0, 0, 1)
    with pytest.raises(OverloadedError):
        send(fixture, 0, 0)
    fixture.scheduler.step()
    send(fixture, 0, 0)


def test_no_rows_are_refused_since_they_would_never_be_answered(fixture: Fixture) -> None:
    with pytest.raises(ValueError, match="at least one row"):
        send(fixture)


def test_events_tell_what_happened(fixture: Fixture) -> None:
    send(fixture, 0, 1)
    fixture.clock.now += 0.5
    fixture.drain()
    first, second, done = fixture.events
    assert isinstance(first, StageRan)
    assert (first.model, first.stage, first.rows, first.queue_seconds) == ("fake", 0, 2, (0.0, 0.0))
    assert first.seconds == pytest.approx(0.01)
    assert isinstance(second, StageRan)
    assert (second.stage, second.rows) == (1, 1)
    assert isinstance(done, RequestDone)
    assert (done.exits, done.flops, done.budget_flops) == ((0, 1), (10, 30), 25.0)
    assert done.seconds == pytest.approx(0.52)


def test_a_listener_that_raises_is_logged_and_costs_nobody_an_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def listener(event: Event) -> None:
        raise OSError("the disk is full")

    fixture = Fixture(listener=listener)
    request, expected = send(fixture, 1)
    fixture.drain()
    assert request.future.result(0) == expected
    assert "a listener failed on StageRan; serving goes on" in caplog.text
    assert "the disk is full" in caplog.text


def test_abort_fails_everyone_who_is_in_and_closes(fixture: Fixture) -> None:
    started, _ = send(fixture, 2, 2)
    fixture.scheduler.step()
    waiting, _ = send(fixture, 0)
    fixture.scheduler.abort(lambda: ClosedError("gone"))
    errors = [request.future.exception(0) for request in (started, waiting)]
    assert all(isinstance(error, ClosedError) for error in errors)
    assert errors[0] is not errors[1]
    with pytest.raises(ClosedError, match="gone"):
        send(fixture, 0)
    fixture.drain()  # what is left in the queues is nobody's any more
    assert fixture.scheduler.waiting_rows == 0


def test_closing_lets_those_who_are_in_finish(fixture: Fixture) -> None:
    request, expected = send(fixture, 2)
    fixture.scheduler.close("closing time")
    with pytest.raises(ClosedError, match="closing time"):
        send(fixture, 0)
    fixture.drain()
    assert request.future.result(0) == expected


def test_nobody_starves_while_new_rows_keep_coming() -> None:
    fixture = Fixture(capacity=1000)
    random, requests = np.random.default_rng(0), []
    for _ in range(600):
        requests.append(send(fixture, int(random.integers(0, 3)))[0])
        fixture.scheduler.step()
    fixture.drain()
    longest = max(max(event.queue_seconds) for event in fixture.events if isinstance(event, StageRan))
    assert all(request.over for request in requests)
    # Once old (0.05 s), a row waits for the full batches and the older rows that are there: a few steps.
    assert longest < 0.2


def test_waiting_features_are_those_in_the_queue_and_behind_the_barrier_and_may_be_changed_in_place(
    fixture: Fixture,
) -> None:
    free, _ = send(fixture, 2, 0)
    held, _ = send(fixture, 2, 2, 2, 2, barrier=True)
    fixture.scheduler.step()
    waiting = [
        numbers.tolist() for (features,) in fixture.scheduler.waiting_features(1) for numbers in features
    ]
    assert waiting == [[0, 2], [2, 2], [3, 2]]
    assert fixture.scheduler.waiting_features(2) == []
    for (features,) in fixture.scheduler.waiting_features(1):
        features[:, 0] += 100
    fixture.drain()
    assert [number for number, _ in free.future.result(0)] == [100, 1]
    assert [number for number, _ in held.future.result(0)] == [102, 103, 4, 5]
