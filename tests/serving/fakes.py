"""Fakes for the scheduler: a net whose rows know their exits, and a clock that is set by hand."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from serving.events import Event, Listener
from serving.interfaces import NO_FAST_PATHS, FastPaths, Tensors
from serving.scheduler.dispatch import deepest_full
from serving.scheduler.request import Constraints, Row
from serving.scheduler.scheduler import Scheduler

EXIT_FLOPS = (10, 30, 60)
STAGES = len(EXIT_FLOPS)
CLASSES = 3

Answers = list[tuple[int, int]]
"""One (number, exit index) per row."""


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Net:
    """Rows are (number, exit): probabilities repeat them, features pass them on. Fails when told to."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.ran: list[tuple[int, list[int]]] = []
        self.failures: list[Exception] = []
        self.stage_seconds = 0.01

    def run(self, stage: int, inputs: Tensors) -> tuple[np.ndarray, Tensors]:
        self.clock.now += self.stage_seconds
        if self.failures:
            raise self.failures.pop()
        self.ran.append((stage, inputs[0][:, 0].tolist()))
        probabilities = np.zeros((len(inputs[0]), CLASSES), np.float32)
        probabilities[:, :2] = inputs[0]
        return probabilities, (inputs[0].copy(),) if stage < STAGES - 1 else ()

    def without_head(self, stage: int) -> Callable[[Tensors], Tensors]:
        return lambda inputs: self.run(stage, inputs)[1]

    def whole(self, inputs: Tensors) -> np.ndarray:
        return self.run(STAGES, inputs)[0]


class Fixture:
    """A scheduler on a fake net, whose rows leave at the exit that they were sent with."""

    def __init__(
        self,
        *,
        capacity: int = 64,
        max_batch: int = 4,
        max_age_seconds: float = 0.05,
        listener: Listener | None = None,
        shortcuts: bool = False,
    ) -> None:
        self.clock = Clock()
        self.net = Net(self.clock)
        self.events: list[Event] = []
        self.decided: list[tuple[int, list[int]]] = []
        self.decider_failures: list[Exception] = []
        self.sent = 0
        self.scheduler: Scheduler[Answers] = Scheduler(
            name="fake",
            exit_flops=EXIT_FLOPS,
            run=self.net.run,
            decide=self.decide,
            answer=lambda answered: [self.answer(*request[:3]) for request in answered],
            capacity=capacity,
            dispatch=partial(deepest_full, max_batch=max_batch, max_age_seconds=max_age_seconds),
            clock=self.clock,
            emit=listener or self.events.append,
            keep_rows=8,
            shortcuts=FastPaths({stage: self.net.without_head(stage) for stage in (0, 1)}, self.net.whole)
            if shortcuts
            else NO_FAST_PATHS,
        )

    def decide(self, stage: int, rows: Sequence[Row], probabilities: np.ndarray) -> np.ndarray:
        if self.decider_failures:
            raise self.decider_failures.pop()
        self.decided.append((stage, probabilities[:, 0].astype(int).tolist()))
        leaves: np.ndarray = probabilities[:, 1] <= stage
        return leaves

    @staticmethod
    def answer(terms: Constraints, exits: Sequence[int], probabilities: np.ndarray) -> Answers:
        return list(zip(probabilities[:, 0].astype(int).tolist(), exits, strict=True))

    def inputs(self, exits: Sequence[int]) -> tuple[Tensors, Answers]:
        """The images of a request whose rows leave at these exits, and the answers it should get."""
        numbers = list(range(self.sent, self.sent + len(exits)))
        self.sent += len(exits)
        expected = list(zip(numbers, exits, strict=True))
        return (np.array(expected, np.int64).reshape(-1, 2),), expected

    def drain(self) -> None:
        while self.scheduler.step():
            pass
