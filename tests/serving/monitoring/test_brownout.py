"""Brown-out: who pays first, how far, how soon, and how budgets come back; on a clock set by hand."""

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from serving.events import BudgetsLowered, Event
from serving.monitoring.brownout import STEPS, BrownOut
from tests.serving.fakes import Clock

MARK = 100
FLOOR = 0.25
STEP_SECONDS = 0.125


class Stream:
    """A queue of a size that is set, and requests that come eight times a second."""

    def __init__(self, floor: float = FLOOR) -> None:
        self.clock, self.waiting, self.events = Clock(), 0, list[Event]()
        self.brownout = BrownOut(
            "m",
            waiting=lambda: self.waiting,
            mark=MARK,
            floor=floor,
            clock=self.clock,
            emit=self.events.append,
        )

    def run(self, seconds: float, waiting: int, *priorities: str) -> None:
        self.waiting = waiting
        for _ in range(round(seconds / STEP_SECONDS)):
            self.clock.now += STEP_SECONDS
            for priority in priorities:
                self.brownout.share(priority)
            self.brownout.look()

    def shares(self) -> tuple[float, float, float]:
        found = self.brownout.shares()
        return found["high"], found["normal"], found["low"]


def test_nothing_is_lowered_while_little_waits() -> None:
    stream = Stream()
    stream.run(60, MARK - 1, "high", "normal", "low")
    assert stream.shares() == (1, 1, 1)
    assert not stream.events


def test_low_pays_first_and_normal_only_when_low_is_at_the_floor() -> None:
    stream = Stream()
    lowered = []
    for _ in range(2 * STEPS + 4):
        stream.run(STEP_SECONDS, MARK, "high", "normal", "low")
        lowered.append(stream.shares())
    assert all(high == 1 for high, _, _ in lowered)
    assert all(low == FLOOR for _, normal, low in lowered if normal < 1)
    lows = [low for _, _, low in lowered]
    assert lows == sorted(lows, reverse=True)
    steps = [round(STEPS * math.log(low, FLOOR), 9) for low in lows]
    assert all(step.is_integer() for step in steps)
    assert max(later - before for before, later in pairwise(steps)) < STEPS / 2
    assert lowered[-1] == (1, FLOOR, FLOOR)


def test_a_class_that_sends_nothing_is_passed_over() -> None:
    stream = Stream()
    stream.run(0.25, MARK, "normal")
    assert stream.shares()[1] < 1
    assert stream.shares()[2] == FLOOR
    alone = Stream()
    alone.run(10, 9 * MARK, "low", "high")
    assert alone.shares() == (1, 1, FLOOR)
    nobody = Stream()
    nobody.run(10, 9 * MARK, "high")
    assert nobody.shares() == (1, 1, 1)


def test_the_more_waits_the_larger_are_the_steps() -> None:
    mild, grave = Stream(), Stream()
    mild.run(0.3, MARK, "normal")
    grave.run(0.3, 5 * MARK, "normal")
    assert grave.shares()[1] < mild.shares()[1] < 1


def test_a_burst_that_drains_before_the_next_one_is_no_overload() -> None:
    stream = Stream()
    for _ in range(200):
        for waiting in (0, 9 * MARK):
            stream.clock.now += STEP_SECONDS / 4
            stream.waiting = waiting
            stream.brownout.share("normal")
    assert stream.shares() == (1, 1, 1)


def test_budgets_come_back_in_the_opposite_order_after_a_calm() -> None:
    stream = Stream()
    stream.run(5, 2 * MARK, "normal", "low")
    assert stream.shares() == (1, FLOOR, FLOOR)
    stream.run(0.8, 0, "normal", "low")
    assert stream.shares() == (1, FLOOR, FLOOR)
    seen = []
    for _ in range(3 * STEPS):
        stream.run(1, 0, "normal", "low")
        seen.append(stream.shares())
    assert all(low == FLOOR for _, normal, low in seen if normal < 1)
    assert seen[-1] == (1, 1, 1)


def test_between_the_mark_and_the_calm_nothing_changes() -> None:
    stream = Stream()
    stream.run(0.3, MARK, "normal")
    before = stream.shares()
    stream.run(60, int(0.7 * MARK), "normal")
    assert stream.shares() == before


def test_a_calm_that_was_too_short_doubles_the_next_one() -> None:
    stream = Stream()
    stream.run(5, 2 * MARK, "normal")
    waits = []
    for _ in range(4):
        before, seconds = stream.shares(), 0.0
        while stream.shares() == before:
            stream.run(STEP_SECONDS, 0, "normal")
            seconds += STEP_SECONDS
        waits.append(seconds)
        stream.run(0.5, MARK, "normal")
    assert all(later > 1.5 * earlier for earlier, later in pairwise(waits))


def test_a_pause_without_requests_brings_budgets_back_at_once() -> None:
    stream = Stream()
    stream.run(5, 2 * MARK, "normal")
    stream.waiting = 0
    stream.clock.now += 3600
    assert stream.brownout.share("normal") == 1
    assert [event.share for event in stream.events if isinstance(event, BudgetsLowered)][-1] == 1


def test_every_change_is_told_once_with_the_share_in_force() -> None:
    stream = Stream()
    stream.run(5, 2 * MARK, "normal", "low")
    stream.run(60, 0, "normal", "low")
    told = [event for event in stream.events if isinstance(event, BudgetsLowered)]
    for priority in ("normal", "low"):
        shares = [event.share for event in told if event.priority == priority]
        assert all(before != after for before, after in pairwise(shares))
        assert (min(shares), shares[-1]) == (FLOOR, 1)
    assert {event.priority for event in told} == {"normal", "low"}


@given(
    st.lists(
        st.tuples(
            st.floats(0, 30),
            st.integers(0, 2000),
            st.lists(st.sampled_from(["high", "normal", "low"]), max_size=3),
        ),
        max_size=60,
    ),
    st.floats(0.01, 1),
)
def test_shares_stay_between_the_floor_and_one_in_order(
    moments: list[tuple[float, int, list[str]]], floor: float
) -> None:
    stream = Stream(floor)
    for seconds, waiting, priorities in moments:
        stream.clock.now += seconds
        stream.waiting = waiting
        for priority in priorities:
            assert floor - 1e-12 <= stream.brownout.share(priority) <= 1
        high, normal, low = stream.shares()
        assert high == 1
        assert low <= normal
