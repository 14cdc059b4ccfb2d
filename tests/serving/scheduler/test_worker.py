"""The worker with a real thread: it is made to wait by events, never by sleeping."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from serving.errors import ClosedError
from serving.events import Event, RequestFailed, WorkerDied
from serving.interfaces import Tensors
from serving.scheduler.request import Constraints
from serving.scheduler.scheduler import Scheduler
from serving.scheduler.worker import MAX_RESTARTS, Worker

TERMS = Constraints(1.0, ())
SOON = 30.0  # seconds after which a test that hangs fails
IMAGES = (np.zeros((2, 1), np.float32),)


class Gate:
    """A one-stage engine that waits at a gate; `crash` makes it raise instead of run."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        self.crash: BaseException | None = None

    def run(self, stage: int, inputs: Tensors) -> tuple[np.ndarray, Tensors]:
        self.reached.set()
        assert self.open.wait(SOON)
        if self.crash is not None:
            raise self.crash
        return np.ones((len(inputs[0]), 2), np.float32), ()


class Setup:
    """A worker on a gate, and what it emitted."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.events: list[Event] = []
        self.scheduler: Scheduler[int] = Scheduler(
            name="fake",
            exit_flops=(1,),
            run=self.gate.run,
            decide=lambda *_: np.ones(0, bool),
            answer=lambda requests: [len(request.exits) for request in requests],
            capacity=8,
            emit=self.events.append,
        )
        self.now = [0.0]
        self.worker = Worker(self.scheduler, name="fake", emit=self.events.append, clock=lambda: self.now[0])


@pytest.fixture
def setup() -> Iterator[Setup]:
    setup = Setup()
    yield setup
    setup.gate.open.set()
    setup.worker.close(timeout_seconds=SOON)


def test_requests_are_answered_one_after_the_other_and_from_many_threads(setup: Setup) -> None:
    setup.gate.open.set()
    assert setup.worker.submit(IMAGES, TERMS).future.result(SOON) == 2
    answers: list[int] = []

    def call() -> None:
        answers.extend(setup.worker.submit(IMAGES, TERMS).future.result(SOON) for _ in range(20))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert answers == [2] * 80


def test_closing_answers_first_those_who_are_in(setup: Setup) -> None:
    running = setup.worker.submit(IMAGES, TERMS)
    assert setup.gate.reached.wait(SOON)
    waiting = setup.worker.submit(IMAGES, TERMS)
    closer = threading.Thread(target=setup.worker.close)
    closer.start()
    setup.gate.open.set()
    closer.join(SOON)
    assert running.future.result(SOON) == waiting.future.result(SOON) == 2
    assert not setup.worker.alive
    with pytest.raises(ClosedError, match="shutting down"):
        setup.worker.submit(IMAGES, TERMS)


def test_closing_without_draining_fails_those_who_are_in_at_once(setup: Setup) -> None:
    running = setup.worker.submit(IMAGES, TERMS)
    assert setup.gate.reached.wait(SOON)
    waiting = setup.worker.submit(IMAGES, TERMS)
    # The stage hangs: nobody waits for it, the thread least of all.
    setup.worker.close(drain=False, timeout_seconds=0)
    for request in (running, waiting):
        assert isinstance(request.future.exception(SOON), ClosedError)
    setup.gate.open.set()
    setup.worker.close(timeout_seconds=SOON)
    assert not setup.worker._thread.is_alive()


def test_a_drain_that_takes_too_long_ends_in_errors_not_in_silence(setup: Setup) -> None:
    request = setup.worker.submit(IMAGES, TERMS)
    assert setup.gate.reached.wait(SOON)
    setup.worker.close(drain=True, timeout_seconds=0)
    assert isinstance(request.future.exception(SOON), ClosedError)


@pytest.mark.parametrize("crash", [SystemExit("bye"), KeyboardInterrupt()])
def test_a_worker_that_dies_leaves_nobody_hanging(setup: Setup, crash: BaseException) -> None:
    setup.gate.crash = crash
    running = setup.worker.submit(IMAGES, TERMS)
    assert setup.gate.reached.wait(SOON)
    waiting = setup.worker.submit(IMAGES, TERMS)
    setup.gate.open.set()
    for request in (running, waiting):
        error = request.future.exception(SOON)
        assert isinstance(error, ClosedError)
        assert "the worker of model 'fake' died" in str(error)
        assert error.__cause__ is crash
    assert setup.worker.alive
    died, *failed = setup.events
    assert isinstance(died, WorkerDied)
    assert died.goes_on
    assert type(crash).__name__ in died.error
    assert [type(event) for event in failed] == [RequestFailed, RequestFailed]
    setup.gate.crash = None
    assert setup.worker.submit(IMAGES, TERMS).future.result(SOON)
    assert setup.scheduler.waiting_rows == 0
    setup.worker.close(timeout_seconds=SOON)


def test_a_worker_that_dies_again_and_again_is_given_up(setup: Setup) -> None:
    setup.gate.crash = SystemExit("bye")
    setup.gate.open.set()
    for _ in range(1 + MAX_RESTARTS):
        assert setup.worker.alive
        assert isinstance(setup.worker.submit(IMAGES, TERMS).future.exception(SOON), ClosedError)
    setup.worker._thread.join(SOON)
    assert not setup.worker.alive
    with pytest.raises(ClosedError, match="died"):
        setup.worker.submit(IMAGES, TERMS)
    deaths = [event.goes_on for event in setup.events if isinstance(event, WorkerDied)]
    assert deaths == [True] * MAX_RESTARTS + [False]


def test_a_stage_that_does_not_come_back_is_seen_and_who_waits_is_told(setup: Setup) -> None:
    assert setup.worker.stalled_seconds == 0
    request = setup.worker.submit(IMAGES, TERMS)
    assert setup.gate.reached.wait(SOON)
    setup.now[0] += 40
    assert setup.worker.stalled_seconds == 40
    setup.worker.give_up()
    assert isinstance(request.future.exception(SOON), ClosedError)
    setup.gate.open.set()
    assert setup.worker.submit(IMAGES, TERMS).future.result(SOON)
    setup.worker.close(timeout_seconds=SOON)
    assert setup.worker.stalled_seconds == 0


def test_a_bug_in_the_scheduler_kills_the_worker_loudly(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dispatch(loads: object) -> tuple[int, int]:
        raise AssertionError("a bug")

    monkeypatch.setattr(setup.scheduler, "_dispatch", dispatch)
    assert isinstance(setup.worker.submit(IMAGES, TERMS).future.exception(SOON), ClosedError)
    setup.worker.close(timeout_seconds=SOON)
    assert any(isinstance(event, WorkerDied) for event in setup.events)


def test_a_failing_stage_does_not_kill_the_worker(setup: Setup) -> None:
    setup.gate.open.set()
    setup.gate.crash = RuntimeError("this batch")
    assert setup.worker.submit(IMAGES, TERMS).future.exception(SOON) is not None
    setup.gate.crash = None
    assert setup.worker.submit(IMAGES, TERMS).future.result(SOON) == 2
    assert setup.worker.alive


def test_a_callback_may_close_the_worker_that_runs_it(setup: Setup) -> None:
    closed = threading.Event()

    def close(_: object) -> None:
        setup.worker.close(timeout_seconds=SOON)
        closed.set()

    request = setup.worker.submit(IMAGES, TERMS)
    request.future.add_done_callback(close)
    setup.gate.open.set()
    assert closed.wait(SOON)
    assert request.future.result(SOON) == 2
