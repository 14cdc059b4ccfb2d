"""Seconds of a stage on a batch: learned at warm-up, refined by every batch that runs."""

import math
import threading
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from itertools import accumulate
from typing import TypeVar

import numpy as np

from serving.events import Event, StageRan
from serving.interfaces import RunStage, Tensors

TOLERANCE = 0.03
"""Costs per row that differ by less than this are the same."""

CLEARLY = 0.1
"""A smaller batch is run instead of all that wait where it is cheaper per row by this: costs are noisy."""

_LEAST_SHARE = 4  # of the largest size that is known


class BatchCostCurve:
    """Seconds at a few sizes, joined by straight lines.

    Args:
        seconds_at: seconds by batch size; empty where nothing is known.
    """

    def __init__(self, seconds_at: Mapping[int, float]) -> None:
        self._sizes = sorted(seconds_at)
        self._seconds = [seconds_at[size] for size in self._sizes]

    def seconds(self, rows: int) -> float:
        """Expected seconds of a batch.

        Under the smallest size that is known it takes as long as that one, over the largest it grows with the
        rows. A stage that never ran is expected to take no time, so that it may run.
        """
        if not self._sizes:
            return 0.0
        place = bisect_left(self._sizes, rows)
        if place == len(self._sizes):
            return self._seconds[-1] * rows / self._sizes[-1]
        if place == 0:
            return self._seconds[0]
        low, high = self._sizes[place - 1], self._sizes[place]
        share = (rows - low) / (high - low)
        return self._seconds[place - 1] + (self._seconds[place] - self._seconds[place - 1]) * share

    @cached_property
    def efficient_rows(self) -> int:
        """The smallest size that is known whose cost per row is the least there is, give or take `TOLERANCE`.

        At least a quarter of the largest: a few noisy runs may call any size cheap, and callers wait while a
        larger batch gathers, but other stages run. 0 where nothing is known.

        >>> BatchCostCurve({1: 0.010, 8: 0.048, 32: 0.190}).efficient_rows
        8
        """
        per_row = [seconds / size for size, seconds in zip(self._sizes, self._seconds, strict=True)]
        limit = min(per_row, default=0.0) * (1 + TOLERANCE)
        for size, cost in zip(self._sizes, per_row, strict=True):
            if cost <= limit and size * _LEAST_SHARE >= self._sizes[-1]:
                return size
        return self._sizes[-1] if self._sizes else 0

    @property
    def row_seconds(self) -> float:
        """Seconds per row in batches of `efficient_rows`; 0 where nothing is known.

        >>> round(BatchCostCurve({1: 0.010, 8: 0.048, 32: 0.190}).row_seconds, 6)
        0.006
        """
        return self.seconds(self.efficient_rows) / max(1, self.efficient_rows)

    def cheapest_rows(self, rows: int) -> int:
        """The number of `rows` to run together: all, unless a smaller measured size costs less per row.

        >>> rates = BatchCostCurve({1: 0.010, 8: 0.048, 32: 0.256})
        >>> rates.cheapest_rows(5), rates.cheapest_rows(32)
        (5, 8)
        """
        smaller = [
            (seconds / size, -size)
            for size, seconds in zip(self._sizes, self._seconds, strict=True)
            if size <= rows
        ]
        if not smaller:
            return rows
        cost, size = min(smaller)
        return rows if self.seconds(rows) / rows <= cost * (1 + CLEARLY) else -size


Result = TypeVar("Result")
_MEMORY = 7 / 8
_DEVIATION_MEMORY = 3 / 4
_DEVIATIONS = 2.0
_FORGETTING = 1 / 1024
_STEP_SECONDS = 3e-4  # a step of the scheduler beside the run itself: what small batches cost on top
_WARM_UP_SECONDS = 5.0  # after which larger sizes are left to be learned


class CostModel:
    """Predicts a stage's seconds from batches of about the same size; safe from any thread.

    Sizes fall into classes, the powers of two. Each keeps a running mean and a running mean deviation, as
    TCP's retransmission timer does (Jacobson, *Congestion Avoidance and Control*, 1988). Two questions are
    answered: what to expect, which is the mean, and what will hardly be exceeded, which is 2 deviations more.
    TCP adds 4: a stage that was not started costs a caller depth, not a retransmission.

    A size that was slow when it ran last, as on a machine that was busy while the server started, would never
    run again. So while smaller batches run, what is expected of it moves towards their cost per row, until it
    is tried. What it will hardly exceed does not move.

    Args:
        stages: how many there are; a run of all of them at once is one more.
    """

    def __init__(self, stages: int) -> None:
        self._lock = threading.Lock()
        self._known: list[dict[int, tuple[float, float]]] = [{} for _ in range(stages + 1)]
        self._quickest: list[dict[int, float]] = [{} for _ in range(stages + 1)]
        self._means: list[dict[int, float]] = [{} for _ in range(stages + 1)]
        self._expected = [BatchCostCurve({}) for _ in range(stages + 1)]
        self._bounds = [BatchCostCurve({}) for _ in range(stages + 1)]
        self._compute: list[dict[int, float]] = [{} for _ in range(stages + 1)]

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
            self._expect(stage, size, scaled)
            self._refresh(stage)

    def _expect(self, stage: int, size: int, seconds: float) -> None:
        """Learn the mean of a size, and believe a little less in larger ones that cost more per row."""
        means = self._means[stage]
        means[size] = mean = _MEMORY * means.get(size, seconds) + (1 - _MEMORY) * seconds
        for larger in filter(lambda other: other > size, means):
            means[larger] -= _FORGETTING * max(0.0, means[larger] - mean * larger / size)

    def note_compute(self, stage: int, rows: int, seconds: float) -> None:
        """Take in what a stage computed at its best, without what it waited for a core.

        Args:
            stage: its index.
            rows: how many ran together, from 1.
            seconds: of compute.
        """
        with self._lock:
            self._compute[stage][rows] = seconds

    def invalidate(self, stage: int) -> None:
        """Move the estimate of a stage towards the quickest batch seen, since no row may start it now.

        Without that a single slow batch could close a stage for good: what never runs is never learned anew.

        Args:
            stage: its index.
        """
        with self._lock:
            for size, (mean, deviation) in self._known[stage].items():
                quickest = (1 - _MEMORY) * self._quickest[stage][size]
                self._known[stage][size] = (_MEMORY * mean + quickest, _DEVIATION_MEMORY * deviation)
                self._means[stage][size] = _MEMORY * self._means[stage][size] + quickest
            self._refresh(stage)

    def expected(self, stage: int) -> BatchCostCurve:
        """The expected seconds of a stage on batches, a step of the scheduler included."""
        return self._expected[stage]

    def compute(self, stage: int) -> BatchCostCurve:
        """What a stage computed when it was first timed; what is expected of it where that is not known."""
        with self._lock:
            found = dict(self._compute[stage])
        return BatchCostCurve(found) if found else self._expected[stage]

    def most_seconds(self, stage: int, rows: int) -> float:
        """Seconds that a stage hardly exceeds on a batch; 0 if it never ran, so that it may run."""
        return self._bounds[stage].seconds(rows)

    def _refresh(self, stage: int) -> None:
        known = self._known[stage]
        self._expected[stage] = BatchCostCurve(
            {size: mean + _STEP_SECONDS for size, mean in self._means[stage].items()}
        )
        self._bounds[stage] = BatchCostCurve(
            {size: mean + _DEVIATIONS * far for size, (mean, far) in known.items()}
        )


def exit_seconds(cost: CostModel, stages: int) -> tuple[float, ...]:
    """Seconds of compute per image of leaving at each exit [K], in batches of the cheapest size.

    Args:
        cost: as it stands after the first runs.
        stages: how many there are.

    Returns:
        The stages' times added up; nothing where one of them never ran.
    """
    times = [cost.compute(stage).row_seconds for stage in range(stages)]
    return tuple(accumulate(times)) if all(time > 0 for time in times) else ()


def measure(
    run: RunStage,
    image_shape: Sequence[int],
    stages: int,
    sizes: Sequence[int],
    clock: Callable[[], float],
    repeats: int = 2,
    whole: Callable[[Tensors], object] | None = None,
    pause: Callable[[float], None] = lambda seconds: None,
    processor: Callable[[], float] | None = None,
) -> CostModel:
    """Time every stage at a few batch sizes on black images; the quickest of some runs counts.

    Args:
        run: runs a stage.
        image_shape: of one image, (H, W, 3).
        stages: how many there are.
        sizes: of the batches, rising; what would bring the runs to more than five seconds together is left
            out, and learned when it is asked for.
        clock: seconds from any origin.
        repeats: runs of each; the first of a size may pay for memory.
        whole: runs all stages at once, and is timed as one more of them.
        pause: called after each run, with its seconds; the time that it takes is not counted.
        processor: seconds of processor time of this process. Where a run has less of it than of the clock's,
            on one thread beside others that keep the cores busy, that is what it computed.
    """
    model = CostModel(stages)
    taken = row_seconds = 0.0  # for a row, at the size before

    def quickest(job: Callable[[], Result]) -> tuple[float, float, Result]:
        """Seconds of the quickest run, the least seconds of compute, and the result."""
        nonlocal taken
        best = computed = math.inf
        for _ in range(repeats):
            started, used = clock(), 0.0 if processor is None else processor()
            result = job()
            seconds = clock() - started
            computed = min(computed, seconds, math.inf if processor is None else processor() - used)
            pause(seconds)
            best, taken = min(best, seconds), taken + seconds
        return best, computed, result

    for size in sizes:
        if taken + repeats * size * row_seconds > _WARM_UP_SECONDS:
            break
        row_seconds = 0.0
        images: Tensors = (np.zeros((size, *image_shape), np.uint8),)
        if whole is not None:
            seconds, *_ = quickest(partial(whole, images))
            model.learn(stages, size, seconds)
            row_seconds += seconds / size
        inputs = images
        for stage in range(stages):
            seconds, computed, (_, inputs) = quickest(partial(run, stage, inputs))
            model.learn(stage, size, seconds)
            model.note_compute(stage, size, computed)
            row_seconds += seconds / size
    return model
