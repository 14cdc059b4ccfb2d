"""Pauses of retries: what the server asks for, doubling with jitter, never past the end of the call."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.client.errors import NoAnswerError, ResponseError
from serving.client.retries import Attempts, Backoff, retry_after_seconds


def longest(low: float, high: float) -> float:
    assert low == 0
    return high


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


LOST = NoAnswerError("lost")


def full(seconds: float | None = None) -> ResponseError:
    return ResponseError(429, "full", retry_after_seconds=seconds)


def test_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff(retries=6, base_seconds=0.1, most_seconds=1.0, uniform=longest)
    pauses = [backoff.pause_seconds(failures, None) for failures in range(1, 8)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, None]


@given(st.integers(1, 10_000), st.floats(0, 1e6))
def test_a_pause_is_never_shorter_than_the_server_asks(failures: int, asked: float) -> None:
    pause = Backoff(retries=10_000).pause_seconds(failures, asked)
    assert pause is not None
    assert asked <= pause <= asked + 5.0


def test_callers_who_were_refused_together_come_back_apart() -> None:
    pauses = {Backoff().pause_seconds(1, 1.0) for _ in range(20)}
    assert len(pauses) == 20


@pytest.mark.parametrize("status", [429, 503])
def test_what_passes_is_tried_again(status: int) -> None:
    attempts = Attempts(Backoff(uniform=longest), 10, Clock())
    assert attempts.pause_seconds(ResponseError(status, "later")) == 0.1


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422, 500, 504])
def test_what_stays_so_is_not_tried_again(status: int) -> None:
    assert Attempts(Backoff(), 10, Clock()).pause_seconds(ResponseError(status, "no")) is None


def test_no_pause_goes_past_the_end_of_the_call() -> None:
    clock = Clock()
    attempts = Attempts(Backoff(uniform=longest), 2.0, clock)
    assert attempts.pause_seconds(full(1.0)) == 1.1
    clock.now += 1.1
    assert attempts.pause_seconds(full(1.0)) is None  # 1.2 s from here is beyond 2 s
    assert Attempts(Backoff(uniform=longest), 2.0, Clock()).pause_seconds(LOST) == 0.1


def test_a_call_whose_time_is_up_says_so() -> None:
    clock = Clock()
    attempts = Attempts(Backoff(), 2.0, clock)
    clock.now += 0.5
    assert attempts.left_seconds() == 1.5
    clock.now += 1.5
    with pytest.raises(NoAnswerError, match=r"^no answer within 2 s$"):
        attempts.left_seconds()


@pytest.mark.parametrize("retries", [-1, 1.5])
def test_a_number_of_retries_that_is_none_is_refused(retries: int) -> None:
    with pytest.raises(ValueError, match="expected 0 retries or more, found"):
        Backoff(retries)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("7", 7.0),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30.0),
        ("Wed, 31 Dec 2025 23:59:00 GMT", 0.0),
        ("-3", None),
        ("1.5", None),
        ("tomorrow", None),
        ("", None),
        ("²", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value, datetime(2026, 1, 1, tzinfo=UTC)) == seconds
