"""How long a stage takes on a batch: learned at warm-up, refined by every batch that runs."""

import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence

import numpy as np

from serving.decisions import Run
from serving.events import Event, StageRan
from serving.rows import Tensors

_MEMORY = 7 / 8
_DEVIATION_MEMORY = 3 / 4
_DEVIATIONS = 2.0


class CostModel:
    """Predicts a stage's seconds from batches of about the same size; safe from any thread.

    Sizes fall into classes, the powers of two. Each keeps a running mean and a running mean deviation, as
    TCP's retransmission timer does (Jacobson, *Congestion Avoidance and Control*, 1988), with 2 deviations
    on top of the mean instead of 4: a stage that was not started costs a caller depth, not a retransmission.

    Args:
        stages: how many there are.
    """

    def __init__(self, stages: int) -> None:
        self._lock = threading.Lock()
        self._known: list[dict[int, tuple[float, float]]] = [{} for _ in range(stages)]
        self._quickest: list[dict[int, float]] = [{} for _ in range(stages)]

    def __call__(self, event: Event) -> None:
        """Learn from `StageRan`; other events say nothing."""
        if isinstance(event, StageRan):
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
            if size not in known:
                known[size] = (scaled, 0.0)
                return
            mean, deviation = known[size]
            deviation = _DEVIATION_MEMORY * deviation + (1 - _DEVIATION_MEMORY) * abs(scaled - mean)
            known[size] = (_MEMORY * mean + (1 - _MEMORY) * scaled, deviation)

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

    def seconds(self, stage: int, rows: int) -> float:
        """How long a stage will hardly exceed on a batch.

        Between two sizes that were seen it lies on the line that joins them; under the smallest it is that
        of the smallest, over the largest it grows with the rows. Nothing is known of a stage that never ran:
        0, so that it may run.
        """
        with self._lock:
            known = {
                size: mean + _DEVIATIONS * deviation for size, (mean, deviation) in self._known[stage].items()
            }
        if not known:
            return 0.0
        sizes = sorted(known)
        place = bisect_left(sizes, rows)
        if place == len(sizes):
            return known[sizes[-1]] * rows / sizes[-1]
        if place == 0:
            return known[sizes[0]]
        low, high = sizes[place - 1], sizes[place]
        return known[low] + (known[high] - known[low]) * (rows - low) / (high - low)


def measure(
    run: Run,
    image_shape: Sequence[int],
    stages: int,
    sizes: Sequence[int],
    clock: Callable[[], float],
    repeats: int = 2,
) -> CostModel:
    """Time every stage at a few batch sizes on black images; the quickest of some runs counts.

    Args:
        run: runs a stage.
        image_shape: of one image, (H, W, 3).
        stages: how many there are.
        sizes: of the batches; each has a cost, so few.
        clock: seconds from any origin.
        repeats: runs of each; the first of a size may pay for memory.
    """
    model = CostModel(stages)
    for size in sizes:
        inputs: Tensors = (np.zeros((size, *image_shape), np.uint8),)
        for stage in range(stages):
            quickest = float("inf")
            for _ in range(repeats):
                started = clock()
                _, features = run(stage, inputs)
                quickest = min(quickest, clock() - started)
            model.learn(stage, size, quickest)
            inputs = features
    return model
