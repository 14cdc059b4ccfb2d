import threading
from concurrent.futures import Future

import pytest

from serving.errors import BudgetError, ClosedError, OverloadedError
from tests.serving.processes.linked import linked

SECONDS = 20


def refuse() -> None:
    raise OverloadedError("too many", 2.5)


def test_a_call_brings_back_its_result_or_its_error() -> None:
    def half(number: int) -> int:
        if number % 2:
            raise BudgetError(f"{number} is odd")
        return number // 2

    with linked({"half": half, "refuse": refuse}) as (asks, _):
        assert asks.ask("half", 6, timeout_seconds=SECONDS) == 3
        with pytest.raises(BudgetError, match="7 is odd"):
            asks.ask("half", 7, timeout_seconds=SECONDS)
        with pytest.raises(OverloadedError, match="too many") as raised:
            asks.ask("refuse", timeout_seconds=SECONDS)
        assert raised.value.retry_after_seconds == 2.5


def test_a_long_call_holds_up_no_other() -> None:
    release = threading.Event()
    with linked({"long": lambda: release.wait(SECONDS), "short": lambda: "done"}) as (asks, _):
        long = asks.call("long")
        assert asks.ask("short", timeout_seconds=SECONDS) == "done"
        assert not long.done()
        release.set()
        assert long.result(SECONDS) is True


def test_what_is_told_comes_in_order_and_before_what_is_asked_later() -> None:
    heard: list[int] = []
    with linked({"note": heard.append, "read": lambda: list(heard)}) as (asks, _):
        for number in range(100):
            asks.tell("note", number)
        assert asks.ask("read", timeout_seconds=SECONDS) == list(range(100))


def test_a_handler_may_answer_later() -> None:
    later: Future[str] = Future()
    with linked({"later": lambda: later}) as (asks, _):
        asked = asks.call("later")
        assert not asked.done()
        later.set_result("now")
        assert asked.result(SECONDS) == "now"


def test_a_process_that_has_gone_fails_what_waits_and_what_comes() -> None:
    lost, never = threading.Event(), threading.Event()
    with linked({"wait": lambda: never.wait(SECONDS)}, lost.set) as (asks, other):
        waiting = asks.call("wait")
        other.close()
        assert lost.wait(SECONDS)
        with pytest.raises(ClosedError, match="the other has gone"):
            waiting.result(SECONDS)
        with pytest.raises(ClosedError, match="the other has gone"):
            asks.ask("wait", timeout_seconds=SECONDS)
        asks.tell("wait")  # nobody is there to hear it
        never.set()


def test_hanging_up_is_no_loss() -> None:
    lost, gone = threading.Event(), threading.Event()
    with linked({}, lost.set) as (asks, other):
        other._lost = gone.set
        asks.close()
        assert gone.wait(SECONDS)
    assert not lost.is_set()


def test_a_result_that_cannot_be_sent_is_an_error_there() -> None:
    with linked({"lock": threading.Lock}) as (asks, _), pytest.raises(RuntimeError, match="lock"):
        asks.ask("lock", timeout_seconds=SECONDS)
