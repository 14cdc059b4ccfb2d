"""Who is replaced, how often, and what a new child is given: with children that are threads here."""

import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import pytest
import structlog

from serving.errors import BundleError, ClosedError
from serving.processes.children import Children
from serving.processes.layout import Share, shares
from serving.processes.link import Handler, Link
from serving.processes.messages import BEGIN, FAILED, GATHER, JOINED, READY, STOP, Report, Start
from serving.processes.shapes import SlotShape, Snapshot
from serving.processes.supervisor import MOST_RESTARTS, RESTART_SECONDS, Supervisor
from serving.settings import Settings

SECONDS = 20


@dataclass
class Fake:
    """A child's program, in a thread: it joins at once, unless it is to fail."""

    share: Share
    link: Link = field(init=False)
    wanted: Any = "nothing yet"
    stopped_by: list[int] = field(default_factory=list)
    fails_with: Exception | None = None
    snapshot: Snapshot = field(default_factory=Snapshot)
    ended: threading.Event = field(default_factory=threading.Event)
    code: int = 0

    def begin(self, start: Start) -> None:
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        try:
            if self.fails_with is not None:
                self.link.ask(FAILED, self.fails_with)
                self.end(2)
                return
            self.wanted = self.link.ask(JOINED, Report(0.001, None, True))
            self.link.tell(READY)
        except ClosedError:
            self.end(0)

    def end(self, code: int) -> None:
        self.code = code
        self.ended.set()
        self.link.close()

    def kill(self) -> None:
        self.end(-9)

    def wait(self) -> int:
        self.ended.wait()
        return self.code

    def poll(self) -> int | None:
        return self.code if self.ended.is_set() else None


class Fleet:
    """A supervisor, and the children that it started."""

    def __init__(self, prepare: Callable[[int, Fake], None] = lambda number, fake: None) -> None:
        self.fakes: list[Fake] = []
        self.prepare = prepare
        self.children = Children()
        self.failures = 0
        self.seconds = 0.0
        self.changed = threading.Condition()
        self.supervisor = Supervisor(
            Settings(),
            self.children,
            lambda settings, share: Start(settings, share, 0, 0, 0, None, None, 0.0),
            (),
            lambda number: {},
            structlog.get_logger(),
            self.count,
            self.launch,
            lambda: self.seconds,
        )

    def count(self) -> None:
        with self.changed:
            self.failures += 1

    def launch(self, share: Share, link: socket.socket, inherited: Sequence[int]) -> Fake:
        fake = Fake(share)
        self.prepare(len(self.fakes), fake)
        handlers: dict[str, Handler] = {
            BEGIN: fake.begin,
            GATHER: lambda parts: fake.snapshot,
            STOP: fake.stopped_by.append,
        }
        connection: Connection[Any, Any] = Connection(link.detach())
        fake.link = Link(connection, handlers, "the parent")
        fake.link.start()
        with self.changed:
            self.fakes.append(fake)
            self.changed.notify_all()
        return fake

    def start(self, count: int = 2, wanted: int | None = None) -> None:
        def divide(count: int) -> list[Share]:
            return shares(count, range(4))

        def decide(report: Report) -> int:
            return wanted or count

        self.supervisor.start(divide(count), None if wanted is None else decide, divide)

    def replacement(self, launched: int) -> Fake:
        """Wait until so many children were launched, and the last one serves."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.fakes) >= launched, SECONDS)
        fake = self.fakes[launched - 1]
        wait_until(lambda: any(child.process is fake for child in self.children.ready()))
        return fake


def wait_until(done: Callable[[], bool]) -> None:
    for _ in range(2000):
        if done():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not come so far")


def test_children_join_one_after_the_other_and_get_what_the_first_has() -> None:
    slots = {"pets": SlotShape(True, {}, "2", None, True, None, None)}
    fleet = Fleet(lambda number, fake: setattr(fake, "snapshot", Snapshot(slots)))
    fleet.start(3)
    assert [child.share.number for child in fleet.children.members()] == [1, 2, 3]
    assert [fake.wanted for fake in fleet.fakes] == [None, slots, slots]
    fleet.supervisor.close()


def test_one_that_dies_is_replaced_under_its_number_until_it_has_died_too_often() -> None:
    fleet = Fleet()
    fleet.start(2)
    for restart in range(MOST_RESTARTS):
        dying = fleet.fakes[0 if restart == 0 else -1]
        dying.end(-9)
        assert fleet.replacement(3 + restart).share.number == 1
        assert fleet.failures == restart + 1
        assert fleet.children.given_up is None
    fleet.fakes[-1].end(1)
    wait_until(lambda: fleet.children.given_up is not None)
    assert fleet.children.given_up == "process 1 ended 4 times within 10 minutes"
    assert [child.share.number for child in fleet.children.members()] == [2]
    fleet.supervisor.close()


def test_deaths_far_apart_are_forgiven() -> None:
    fleet = Fleet()
    fleet.start(2)
    for restart in range(MOST_RESTARTS + 2):
        fleet.seconds += RESTART_SECONDS
        fleet.fakes[0 if restart == 0 else -1].end(-9)
        fleet.replacement(3 + restart)
    assert fleet.children.given_up is None
    fleet.supervisor.close()


def test_one_that_hangs_is_ended_and_replaced() -> None:
    fleet = Fleet()
    fleet.start(2)
    fleet.fakes[1].snapshot = Snapshot(dead="the worker of pets hangs")
    fleet.supervisor.look()
    assert fleet.replacement(3).share.number == 2
    assert fleet.fakes[1].code == -9
    fleet.supervisor.close()


def test_a_server_whose_first_child_cannot_start_says_why() -> None:
    def prepare(number: int, fake: Fake) -> None:
        fake.fails_with = BundleError("no bundle here")

    fleet = Fleet(prepare)
    with pytest.raises(BundleError, match="no bundle here"):
        fleet.start(2)
    fleet.supervisor.close()
    assert fleet.failures == 0
    assert len(fleet.fakes) == 2  # the second was not asked to load anything
    assert fleet.fakes[1].wanted == "nothing yet"


def test_a_child_that_ends_without_a_word_is_an_error_too() -> None:
    class Mute(Fake):
        def begin(self, start: Start) -> None:
            self.end(-11)

    fleet = Fleet(lambda number, fake: setattr(fake, "__class__", Mute))
    with pytest.raises(ClosedError, match="process 1 ended while it started"):
        fleet.start(2)
    fleet.supervisor.close()


@pytest.mark.parametrize(("planned", "wanted", "launched"), [(4, 2, 3), (2, 2, 2), (4, 1, 2)])
def test_what_the_first_child_reports_decides_how_many_there_are(
    planned: int, wanted: int, launched: int
) -> None:
    fleet = Fleet()
    fleet.start(planned, wanted)
    assert len(fleet.fakes) == launched
    assert [fake.share for fake in fleet.fakes[-wanted:]] == shares(wanted, range(4))
    assert fleet.fakes[0].ended.is_set() == (wanted != planned)
    assert fleet.supervisor.count == wanted
    assert fleet.failures == 0
    fleet.supervisor.close()


def test_once_stopped_none_is_replaced() -> None:
    fleet = Fleet()
    fleet.start(2)
    fleet.supervisor.stop(15)
    wait_until(lambda: [fake.stopped_by for fake in fleet.fakes] == [[15], [15]])
    for fake in fleet.fakes:
        fake.end(0)
    wait_until(lambda: fleet.children.members() == [])
    assert len(fleet.fakes) == 2
    assert fleet.failures == 0
    assert not fleet.supervisor.alive
