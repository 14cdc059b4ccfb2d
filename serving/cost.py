"""How long a stage takes on a batch: learned at warm-up, refined by every batch that runs."""

import math
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np

from serving.decisions import Run
from serving.events import Event, StageRan
from serving.rates import Rates
from serving.rows import Tensors

Result = TypeVar("Result")

_MEMORY = 7 / 8
_DEVIATION_MEMORY = 3 / 4
_DEVIATIONS = 2.0
_STEP_SECONDS = 3e-4  # a step of the scheduler beside the run itself: what small batches cost on top
_WARM_UP_SECONDS = 5.0  # after which larger sizes are left to be learned


class CostModel:
    """Predicts a stage's seconds from batches of about the same size; safe from any thread.

    Sizes fall into classes, the powers of two. Each keeps a running mean and a running mean deviation, as
    TCP's retransmission timer does (Jacobson, *Congestion Avoidance and Control*, 1988). Two questions are
    answered: what to expect, which is the mean, and what will hardly be exceeded, which is 2 deviations more.
    TCP adds 4: a stage that was not started costs a caller depth, not a retransmission.

    Args:
        stages: how many there are; a run of all of them at once is one more.
    """

    def __init__(self, stages: int) -> None:
        self._lock = threading.Lock()
        self._known: list[dict[int, tuple[float, float]]] = [{} for _ in range(stages + 1)]
        self._quickest: list[dict[int, float]] = [{} for _ in range(stages + 1)]
        self._expected = [Rates({}) for _ in range(stages + 1)]
        self._bounds = [Rates({}) for _ in range(stages + 1)]

    def __call__(self, event: Event) -> None:
        """Learn from `StageRan`; other events say nothing, nor does a segment that ran without its head."""
        if isinstance(event, StageRan) and event.skipped_heads != (event.stage,):
            self.learn(event.stage, event.rows, event.seconds)

    def learn(self, stage: int, rows: int, seconds: float) -> None:
        """Take in one measurement.

        Args:
            stage: its index.
            rows: how many ran together, from 1.
            seconds: how long that took.
        """
        size = 1 << (rows - 1).bit_length()
        scaled = seconds * size / rows if rows > 1 else seconds
        with self._lock:
            known, quickest = self._known[stage], self._quickest[stage]
            quickest[size] = min(quickest.get(size, scaled), scaled)
            if size in known:
                mean, deviation = known[size]
                deviation = _DEVIATION_MEMORY * deviation + (1 - _DEVIATION_MEMORY) * abs(scaled - mean)
                known[size] = (_MEMORY * mean + (1 - _MEMORY) * scaled, deviation)
            else:
                known[size] = (scaled, 0.0)
            self._refresh(stage)

    def doubt(self, stage: int) -> None:
        """Move what is believed of a stage towards the quickest that was seen, since nobody may start it now.

        Without that a single slow batch could close a stage for good: what never runs is never learned anew.

        Args:
            stage: its index.
        """
        with self._lock:
            for size, (mean, deviation) in self._known[stage].items():
                believed = _MEMORY * mean + (1 - _MEMORY) * self._quickest[stage][size]
                self._known[stage][size] = (believed, _DEVIATION_MEMORY * deviation)
            self._refresh(stage)

    def expected(self, stage: int) -> Rates:
        """How long a stage is expected to take on batches, a step of the scheduler included."""
        return self._expected[stage]

    def most_seconds(self, stage: int, rows: int) -> float:
        """How long a stage will hardly exceed on a batch; 0 if it never ran, so that it may run."""
        return self._bounds[stage].seconds(rows)

    def _refresh(self, stage: int) -> None:
        known = self._known[stage]
        self._expected[stage] = Rates({size: mean + _STEP_SECONDS for size, (mean, _) in known.items()})
        self._bounds[stage] = Rates({size: mean + _DEVIATIONS * far for size, (mean, far) in known.items()})


def measure(
    run: Run,
    image_shape: Sequence[int],
    stages: int,
    sizes: Sequence[int],
    clock: Callable[[], float],
    repeats: int = 2,
    whole: Callable[[Tensors], object] | None = None,
) -> CostModel:
    """Time every stage at a few batch sizes on black images; the quickest of some runs counts.

    Args:
        run: runs a stage.
        image_shape: of one image, (H, W, 3).
        stages: how many there are.
        sizes: of the batches, rising; once they have taken seconds, the larger ones are left out.
        clock: seconds from any origin.
        repeats: runs of each; the first of a size may pay for memory.
        whole: runs all stages at once, and is timed as one more of them.
    """
    model = CostModel(stages)

    def quickest(job: Callable[[], Result]) -> tuple[float, Result]:
        best = math.inf
        for _ in range(repeats):
            started = clock()
            result = job()
            best = min(best, clock() - started)
        return best, result

    begun = clock()
    for size in sizes:
        if clock() - begun > _WARM_UP_SECONDS:
            break
        images: Tensors = (np.zeros((size, *image_shape), np.uint8),)
        if whole is not None:
            model.learn(stages, size, quickest(partial(whole, images))[0])
        inputs = images
        for stage in range(stages):
            seconds, (_, inputs) = quickest(partial(run, stage, inputs))
            model.learn(stage, size, seconds)
    return model
