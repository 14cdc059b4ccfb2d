from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serving.answer import Answer
from serving.errors import OverloadedError, UnknownModelError
from serving.events import Event, ShadowCompared
from serving.options import ClassifyOptions
from serving.repository.comparison import Comparison
from serving.repository.shadow_traffic import ShadowTraffic

IMAGES = np.zeros((3, 4, 4, 3), np.uint8)


@dataclass
class Request:
    future: Future[list[Answer]] = field(default_factory=Future)


@dataclass
class Model:
    waiting_rows: int = 0
    asked: list[tuple[np.ndarray, ClassifyOptions, Request]] = field(default_factory=list)
    failure: Exception | None = None

    def submit(
        self, images: np.ndarray, ask: ClassifyOptions | None = None, *, shadow: bool = False
    ) -> Request:
        assert shadow
        if self.failure is not None:
            raise self.failure
        assert ask is not None
        self.asked.append((images, ask, Request()))
        return self.asked[-1][2]


def answers(name: str, flops: int, count: int = 3) -> list[Answer]:
    return [Answer(name, 0, 0.5, 1, flops, 100.0, "m") for _ in range(count)]


class Fixture:
    def __init__(self, share: float = 1.0) -> None:
        self.events: list[Event] = []
        self.model, self.other = Model(), Model()
        self.leases, self.there = 0, True
        self.comparison = Comparison("m", "shadow", "1", "2", share, self.events.append)
        self.traffic = ShadowTraffic(self.model, self.lease, self.comparison)

    @contextmanager
    def lease(self) -> Iterator[Any]:
        if not self.there:
            raise UnknownModelError("no model 'm' is loaded")
        self.leases += 1
        yield type("Version", (), {"model": self.other})
        self.leases -= 1

    def send(self, images: np.ndarray = IMAGES, **ask: Any) -> Request:
        request = Request()
        self.traffic.follow(images, ClassifyOptions(**ask), request)
        return request


def test_a_sampled_request_is_answered_by_the_other_model_once_the_first_is_idle() -> None:
    fixture = Fixture()
    first, second = fixture.send(budget="50%", deadline_seconds=1.0), fixture.send()
    fixture.model.waiting_rows = 3
    first.future.set_result(answers("ant", 10))
    assert not fixture.other.asked  # a caller waits
    fixture.model.waiting_rows = 0
    second.future.set_result(answers("ant", 10))
    ((images, ask, request),) = fixture.other.asked  # one at a time
    assert (len(images), ask) == (3, ClassifyOptions(budget="50%"))
    assert fixture.leases == 1
    request.future.set_result([*answers("ant", 30, 2), *answers("bee", 30, 1)])
    assert len(fixture.other.asked) == 2
    assert fixture.leases == 1
    paired = fixture.comparison.paired
    assert (paired.images, paired.agreed, paired.missed, paired.flops.mean) == (3, 2, 0, 20.0)


def test_who_is_not_sampled_still_lets_the_backlog_go_on() -> None:
    fixture = Fixture()
    first = fixture.send()
    fixture.model.waiting_rows = 1
    first.future.set_result(answers("ant", 10))
    fixture.comparison.share = 0.0
    later = fixture.send()
    fixture.model.waiting_rows = 0
    later.future.set_result(answers("ant", 10))
    assert len(fixture.other.asked) == 1


def test_long_requests_are_seen_in_part_and_the_backlog_is_bounded() -> None:
    fixture = Fixture()
    fixture.model.waiting_rows = 1
    for _ in range(40):
        fixture.send(np.zeros((20, 4, 4, 3), np.uint8)).future.set_result(answers("ant", 10, 20))
    assert fixture.comparison.paired.missed == 8 * 8
    fixture.model.waiting_rows = 0
    fixture.traffic.go_on()
    assert len(fixture.other.asked[0][0]) == 8


def test_what_cannot_be_compared_is_counted_and_the_rest_goes_on() -> None:
    fixture = Fixture()
    fixture.other.failure = OverloadedError("full", 1.0)
    fixture.send().future.set_result(answers("ant", 10))
    fixture.there = False
    fixture.send().future.set_result(answers("ant", 10))
    fixture.there, fixture.other.failure = True, None
    fixture.send().future.set_result(answers("ant", 10))
    fixture.other.asked[0][2].future.set_exception(RuntimeError("engine"))
    fixture.send().future.set_exception(RuntimeError("no answer, nothing to compare"))
    fixture.send(explain=True).future.set_result(answers("ant", 10))
    assert fixture.comparison.paired.missed == 9
    assert fixture.leases == 0
    assert [event for event in fixture.events if isinstance(event, ShadowCompared)][-1].missed == 3


def test_after_its_end_nothing_is_sampled() -> None:
    fixture = Fixture()
    under_way = fixture.send()
    fixture.traffic.end()
    under_way.future.set_result(answers("ant", 10))
    fixture.send().future.set_result(answers("ant", 10))
    assert not fixture.other.asked
