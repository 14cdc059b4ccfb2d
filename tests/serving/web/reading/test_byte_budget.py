import pytest

from serving.errors import OverloadedError
from serving.web.reading.byte_budget import BURST_BYTES, ByteBudget


def test_what_all_requests_hold_is_bounded_and_given_back() -> None:
    budget = ByteBudget(100)
    with budget.share() as first:
        first.add(60)
        with budget.share() as second:
            with pytest.raises(OverloadedError, match="60 of 100 bytes"):
                second.foresee(41)
            second.add(40)
            with pytest.raises(OverloadedError):
                second.add(1)
        assert budget.held_bytes == 60
    assert budget.held_bytes == 0


def test_a_request_alone_is_let_in_whatever_its_size() -> None:
    with ByteBudget(100).share() as share:
        share.add(1000)


def test_the_end_of_a_burst_is_noticed_once() -> None:
    budget = ByteBudget(2**30)
    with budget.share() as share:
        share.add(BURST_BYTES + 1)
        assert not budget.burst_is_over()
    assert budget.burst_is_over()
    assert not budget.burst_is_over()
