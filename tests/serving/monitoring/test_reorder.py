"""Events reach the listener in the order of admission, each once, whatever the order of the answers."""

from hypothesis import given
from hypothesis import strategies as st

from serving.events import Event, RequestDone, RequestFailed, WorkerDied
from serving.monitoring.reorder import ReorderBuffer


def done(number: int | None) -> RequestDone:
    return RequestDone("m", (0,), (10,), budget_flops=20.0, seconds=0.1, number=number)


@given(st.permutations(range(12)), st.sets(st.integers(0, 11)))
def test_all_are_told_in_order(ended: list[int], failed: set[int]) -> None:
    told: list[Event] = []
    listen = ReorderBuffer(told.append)
    for number in ended:
        listen(RequestFailed("m", "EngineError", 1, number) if number in failed else done(number))
    numbers = [event.number for event in told if isinstance(event, RequestDone | RequestFailed)]
    assert numbers == list(range(12))


def test_what_is_told_early_waits_for_those_before_it() -> None:
    told: list[Event] = []
    listen = ReorderBuffer(told.append)
    listen(done(1))
    listen(done(2))
    assert told == []
    listen(done(0))
    assert told == [done(0), done(1), done(2)]


def test_other_events_pass_at_once() -> None:
    told: list[Event] = []
    listen = ReorderBuffer(told.append)
    listen(done(1))
    listen(WorkerDied("m", "gone"))
    listen(done(None))
    assert told == [WorkerDied("m", "gone"), done(None)]
