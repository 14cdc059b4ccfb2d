"""The door: capacity, the time until a retry makes sense, and the right to answer."""

import pytest

from serving.errors import BodyTooLargeError, ClosedError, OverloadedError
from serving.scheduler.admission import Admission
from serving.scheduler.request import Constraints, Request


def of(size: int) -> Request[None]:
    return Request(size, Constraints(1.0, ()), barrier=False, admitted_at=0.0)


def test_rows_are_admitted_up_to_the_capacity_and_again_when_there_is_room() -> None:
    admission = Admission(10)
    admission.admit(of(6), ())
    admission.admit(of(4), ())
    with pytest.raises(OverloadedError, match="10 of 10 images wait, and the request has 1"):
        admission.admit(of(1), ())
    admission.release(1)
    admission.admit(of(1), ())
    assert admission.waiting_rows == 10


def test_a_request_that_never_fits_is_told_so() -> None:
    with pytest.raises(BodyTooLargeError, match="11 images in one request, but the queue holds 10"):
        Admission(10).admit(of(11), ())


def test_the_retry_follows_the_measured_throughput() -> None:
    admission = Admission(10)
    admission.admit(of(10), ())
    with pytest.raises(OverloadedError) as unmeasured:
        admission.admit(of(5), ())
    assert unmeasured.value.retry_after_seconds == 1.0
    admission.note_throughput(4, seconds=2.0)  # two rows a second: five rows take 2.5 seconds
    with pytest.raises(OverloadedError) as measured:
        admission.admit(of(5), ())
    assert measured.value.retry_after_seconds == pytest.approx(2.5)


def test_arrivals_are_handed_over_once() -> None:
    admission, request = Admission(10), of(2)
    admission.admit(request, ())
    assert admission.has_arrivals
    assert admission.take_arrivals() == [(request, ())]
    assert admission.take_arrivals() == []


def test_only_one_gets_the_right_to_answer() -> None:
    admission, first, second = Admission(10), of(1), of(1)
    admission.admit(first, ())
    admission.admit(second, ())
    assert admission.claim([first]) == {first}
    assert not admission.claim([first])
    assert admission.claim_all() == [second]
    assert not admission.claim([first, second])


def test_a_closed_door_says_why() -> None:
    admission = Admission(10)
    admission.close("the shop is shut")
    admission.close("again")
    with pytest.raises(ClosedError, match="the shop is shut"):
        admission.admit(of(1), ())
