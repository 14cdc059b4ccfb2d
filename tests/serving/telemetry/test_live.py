import sys
from dataclasses import replace

import pytest

from serving.events import RequestDone, RequestFailed, RequestRefused, StageRan
from serving.telemetry.live import Live


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def done(exits: tuple[int, ...] = (0,), seconds: float = 0.01, model: str = "m") -> RequestDone:
    return RequestDone(model, exits, tuple(10 * (index + 1) for index in exits), 25.0, seconds)


def test_a_second_is_told_once_it_is_over() -> None:
    clock = Clock()
    live = Live(clock)
    live(done((0, 2, 0)))
    live(StageRan("m", 0, rows=3, seconds=0.1, queue_seconds=(0.1, 0.2, 0.3)))
    live(StageRan("m", 1, rows=1, seconds=0.1, queue_seconds=(0.4,)))
    live(RequestFailed("m", "EngineError", rows=4))
    live(RequestRefused("BudgetError"))
    assert live.since("m", 0, 3).batches == []
    clock.now += 1
    found = live.since("m", 0, 3)
    assert (found.first, found.exits) == (0, [[2], [0], [1]])
    assert (found.spent_flops, found.asked_flops) == ([50], [75.0])
    assert (found.batches, found.batch_images, found.failed) == ([2], [4], [4])
    assert found.waiting == [1.0]


def test_images_of_a_brown_out_are_counted() -> None:
    clock = Clock()
    live = Live(clock)
    live(replace(done((0, 1)), budget_share=0.5))
    live(done((1,)))
    clock.now += 1
    assert live.since("m", 0, 2).lowered == [2]


def test_only_what_is_new_is_told_and_idle_seconds_are_told_too() -> None:
    clock = Clock()
    live = Live(clock)
    for _ in range(3):
        live(done())
        clock.now += 2
    assert live.since("m", 0, 1).exits == [[1, 0, 1, 0, 1, 0]]
    assert (live.since("m", 4, 1).first, live.since("m", 4, 1).exits) == (4, [[1, 0]])
    assert (live.since("m", 99, 1).first, live.since("m", 99, 1).exits) == (6, [[]])


def test_models_are_told_apart_and_one_that_did_nothing_is_idle() -> None:
    clock = Clock()
    live = Live(clock)
    live(done(model="one"))
    clock.now += 1
    assert live.since("one", 0, 2).exits == [[1], [0]]
    assert live.since("other", 0, 2).exits == [[0], [0]]
    assert live.since("other", 0, 2).p50_seconds == [None]


@pytest.mark.parametrize("seconds", [0.0002, 0.0137, 0.9, 30.0])
def test_latencies_are_right_to_five_percent(seconds: float) -> None:
    clock = Clock()
    live = Live(clock)
    for _ in range(98):
        live(done(seconds=seconds))
    for _ in range(2):
        live(done(seconds=seconds * 1.5))
    clock.now += 1
    found = live.since("m", 0, 1)
    assert found.p50_seconds[0] == pytest.approx(seconds, rel=0.055)
    assert found.p99_seconds[0] == pytest.approx(seconds * 1.5, rel=0.055)


def test_latencies_off_the_scale_are_told_at_its_ends() -> None:
    clock = Clock()
    live = Live(clock)
    live(done(seconds=1e-9))
    clock.now += 1
    live(done(seconds=1e6))
    clock.now += 1
    least, most = live.since("m", 0, 1).p50_seconds
    assert least is not None
    assert most is not None
    assert least < 1e-3
    assert most > 50


def test_it_forgets() -> None:
    clock = Clock()
    live = Live(clock, kept_seconds=5)
    for _ in range(50):
        live(done())
        clock.now += 1
    found = live.since("m", 0, 1)
    assert (found.first, len(found.batches)) == (45, 5)


def test_what_is_kept_does_not_grow_with_the_traffic() -> None:
    clock = Clock()
    live = Live(clock, kept_seconds=5)

    def size() -> int:
        seconds = live._seconds["m"]
        return len(seconds) + sum(len(second.latencies) + len(second.exits) for second in seconds.values())

    for step in range(2000):
        live(done((0, 1, 2), seconds=1e-5 * 1.01**step))
        clock.now += 0.01
    early = size()
    for step in range(20_000):
        live(done((0, 1, 2), seconds=1e-5 * 1.001 ** (step % 2000)))
        clock.now += 0.001
    assert size() <= early + 7 * 141
    assert sys.getsizeof(live._seconds["m"]) < 5000
