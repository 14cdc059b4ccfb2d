"""A net that is a table: what every exit says of every row is written down and can be foretold."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from serving.events import Event
from serving.interfaces import Tensors
from serving.policy.confidence import Scorer
from serving.scheduler.dispatch import deepest_full
from serving.scheduler.hooks import Decide, Start, everybody_starts
from serving.scheduler.resolver import FinishedRequest
from serving.scheduler.scheduler import Scheduler
from tests.serving.fakes import Clock

EXIT_FLOPS = (10, 25, 50, 80)
EXITS = len(EXIT_FLOPS)
CLASSES = 3
SCORER = Scorer("max_probability", (1.0,) * EXITS)

Exits = list[int]


def random_table(rows: int, seed: int) -> npt.NDArray[np.float32]:
    """Probabilities [rows, EXITS, CLASSES], surer at later exits."""
    random = np.random.default_rng(seed)
    table = [random.dirichlet(np.full(CLASSES, 1 / (1 + exit_index)), rows) for exit_index in range(EXITS)]
    return np.stack(table, axis=1).astype(np.float32)


def scores_of(table: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Scores [rows, EXITS] of a table."""
    return np.stack([SCORER(exit_index, table[:, exit_index]) for exit_index in range(EXITS)], axis=1)


class TableScheduler:
    """A scheduler over a table; a request's result is the exit of each of its rows."""

    def __init__(
        self,
        table: npt.NDArray[np.float32],
        decide: Decide,
        *,
        start: Callable[[Clock], Start] = lambda clock: everybody_starts,
        max_batch: int = 4,
    ) -> None:
        self.table = table
        self.clock = Clock()
        self.events: list[Event] = []
        self.stage_seconds = 0.01
        self.ran: list[tuple[int, list[int]]] = []
        self.scheduler: Scheduler[Exits] = Scheduler(
            name="table",
            exit_flops=EXIT_FLOPS,
            run=self.run,
            decide=decide,
            answer=self.answer,
            capacity=1000,
            start=start(self.clock),
            dispatch=partial(deepest_full, max_batch=max_batch, max_age_seconds=0.05),
            clock=self.clock,
            emit=self.events.append,
        )

    def run(self, stage: int, inputs: Tensors) -> tuple[npt.NDArray[np.float32], Tensors]:
        self.clock.now += self.stage_seconds
        self.ran.append((stage, inputs[0].tolist()))
        return self.table[inputs[0], stage], (inputs[0].copy(),) if stage < EXITS - 1 else ()

    @staticmethod
    def answer(requests: Sequence[FinishedRequest]) -> list[Exits]:
        return [list(request.exits) for request in requests]

    def drain(self) -> None:
        while self.scheduler.step():
            pass
