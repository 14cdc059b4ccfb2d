"""Cores that workers share, with real threads: they are made to wait by events, and time is set by hand."""

import threading
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pytest

from serving.errors import ClosedError
from serving.interfaces import Tensors
from serving.scheduler.cores import Cores, Turn
from serving.scheduler.fair_turns import FairTurns, Place
from serving.scheduler.request import Constraints, Request
from serving.scheduler.scheduler import Scheduler
from serving.scheduler.worker import Worker

TERMS = Constraints(1.0, ())
TURN = 0.01  # by the clock that is set by hand
SOON = 30.0  # seconds after which a test that hangs fails


class Announced(FairTurns):
    """Turns that say who asked for one."""

    def __init__(self) -> None:
        super().__init__(1, TURN)
        self.asked: defaultdict[Place, threading.Event] = defaultdict(threading.Event)

    def ask(self, place: Place, now: float) -> None:
        super().ask(place, now)
        self.asked[place].set()


class Shared:
    """Workers on one core, each with a two-stage engine that can be held up."""

    def __init__(self) -> None:
        self.now = 100.0
        self.cores = Cores(1, turn_seconds=TURN, clock=lambda: self.now)
        self.turns = self.cores._turns = Announced()
        self.ran: list[tuple[str, int, int]] = []
        self.reached = {name: threading.Event() for name in "abc"}
        self.open = {name: threading.Event() for name in "abc"}
        self.crash: dict[str, BaseException] = {}
        self.workers: dict[str, Worker[list[int]]] = {}
        for gate in self.open.values():
            gate.set()

    def worker(self, name: str) -> Worker[list[int]]:
        share = self.cores.share(1)
        idle = self._scheduler(name, f"{name} idle")
        served = self._scheduler(name, name, share)
        self.workers[name] = Worker(served, name=name, idle=idle, share=share)
        self.idle = idle
        return self.workers[name]

    def _scheduler(self, name: str, label: str, share: Turn | None = None) -> Scheduler[list[int]]:
        def run(stage: int, inputs: Tensors) -> tuple[np.ndarray, Tensors]:
            self.reached[name].set()
            assert self.open[name].wait(SOON)
            if name in self.crash:
                raise self.crash.pop(name)
            self.ran.append((label, stage, len(inputs[0])))
            return np.ones((len(inputs[0]), 2), np.float32), inputs if stage == 0 else ()

        return Scheduler(
            name=name,
            exit_flops=(1, 2),
            run=run,
            decide=lambda stage, rows, probabilities: np.zeros(len(rows), bool),
            answer=lambda requests: [list(request.exits) for request in requests],
            capacity=64,
            turn=share,
        )

    def hold_up(self, name: str) -> Request[list[int]]:
        """Have a worker begin a turn that does not end until its gate is opened."""
        self.open[name].clear()
        request = self.send(name)
        assert self.reached[name].wait(SOON)
        return request

    def send(self, name: str) -> Request[list[int]]:
        return self.workers[name].submit((np.zeros((1, 1), np.float32),), TERMS)

    def until_it_waits(self, name: str) -> None:
        """Return once a worker has asked for its first turn, while another has one."""
        assert self.turns.asked[self.workers[name]._share.place].wait(SOON)


@pytest.fixture
def shared() -> Iterator[Shared]:
    shared = Shared()
    shared.worker("a")
    shared.worker("b")
    yield shared
    for gate in shared.open.values():
        gate.set()
    for worker in shared.workers.values():
        worker.close(drain=False, timeout_seconds=SOON)


def test_a_batch_grows_while_its_model_waits_and_goes_through_in_one_turn(shared: Shared) -> None:
    first = shared.hold_up("a")
    waiting = [shared.send("b") for _ in range(3)]
    shared.until_it_waits("b")
    waiting += [shared.send("b") for _ in range(4)]
    shared.open["a"].set()
    assert [request.future.result(SOON) for request in (first, *waiting)] == [[1]] * 8
    assert shared.ran == [("a", 0, 1), ("a", 1, 1), ("b", 0, 7), ("b", 1, 7)]


def test_a_turn_ends_after_its_seconds_though_rows_are_ahead(shared: Shared) -> None:
    first = shared.hold_up("a")
    second = shared.send("b")
    shared.until_it_waits("b")
    shared.now += 2 * TURN
    assert second.future.result(SOON) == [1]  # beside the first, which counts no more
    shared.open["a"].set()
    assert first.future.result(SOON) == [1]
    assert [name for name, *_ in shared.ran] == ["b", "b", "a", "a"]


def test_a_worker_that_dies_in_its_turn_keeps_nobody_waiting(shared: Shared) -> None:
    shared.crash["a"] = SystemExit("bye")
    first = shared.hold_up("a")
    second = shared.send("b")
    shared.until_it_waits("b")
    shared.open["a"].set()
    assert isinstance(first.future.exception(SOON), ClosedError)
    assert second.future.result(SOON) == [1]
    assert shared.send("a").future.result(SOON) == [1]


def test_a_model_that_closes_while_it_waits_answers_first_or_is_left_behind(shared: Shared) -> None:
    shared.worker("c")
    shared.hold_up("a")
    left, drained = shared.send("b"), shared.send("c")
    for name in "bc":
        shared.until_it_waits(name)
    shared.workers["b"].close(timeout_seconds=0)
    assert isinstance(left.future.exception(SOON), ClosedError)
    shared.workers["b"]._thread.join(SOON)
    assert not shared.workers["b"]._thread.is_alive()
    closer = threading.Thread(target=shared.workers["c"].close)
    closer.start()
    shared.open["a"].set()
    closer.join(SOON)
    assert drained.future.result(0) == [1]
    shared.workers["a"].close(timeout_seconds=SOON)
    assert shared.cores.unshared


def test_a_model_that_is_left_alone_takes_no_turns(shared: Shared) -> None:
    shared.workers["b"].close(timeout_seconds=SOON)
    shared.hold_up("a")
    assert not shared.workers["a"]._share.place.computes


def test_idle_work_waits_until_no_model_works(shared: Shared) -> None:
    first = shared.hold_up("a")
    spare = shared.idle.submit((np.zeros((1, 1), np.float32),), TERMS)
    shared.workers["b"].wake()
    second = shared.send("b")
    shared.until_it_waits("b")
    assert not spare.future.done()
    shared.open["a"].set()
    assert [request.future.result(SOON) for request in (first, second, spare)] == [[1]] * 3
    assert [name for name, *_ in shared.ran] == ["a", "a", "b", "b", "b idle", "b idle"]


def test_idle_work_that_sleeps_is_woken_when_the_other_model_rests(shared: Shared) -> None:
    shared.hold_up("a")
    spare = shared.idle.submit((np.zeros((1, 1), np.float32),), TERMS)
    shared.workers["b"].wake()
    assert not spare.future.done()
    shared.open["a"].set()
    assert spare.future.result(SOON) == [1]
    assert [name for name, *_ in shared.ran] == ["a", "a", "b idle", "b idle"]


def test_callers_of_many_models_are_all_answered(shared: Shared) -> None:
    shared.worker("c")
    answered: list[list[int]] = []

    def call(name: str) -> None:
        answered.extend(shared.send(name).future.result(SOON) for _ in range(20))

    threads = [threading.Thread(target=call, args=(name,)) for name in "abcabc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert answered == [[1]] * 120


def test_turns_take_as_many_cores_as_there_are_at_most() -> None:
    cores = Cores(2)
    wide, narrow = cores.share(8), cores.share(0)
    assert (wide.place.cores, narrow.place.cores) == (2, 1)
    assert wide.take() == 0
    assert wide.take() == 0  # still its turn
    wide.give_back()
    assert narrow.take() == 0
    narrow.leave()
    narrow.leave()
    assert narrow.take() == 0
