"""Counts what the Open Inference Protocol's statistics show; a listener of the core's events."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from serving.events import Event, RequestDone, RequestFailed, StageRan


@dataclass
class Durations:
    """A count of events, and their seconds in all."""

    count: int = 0
    seconds: float = 0.0

    def add(self, count: int, seconds: float) -> None:
        """Count so many more."""
        self.count += count
        self.seconds += seconds

    def __add__(self, other: "Durations") -> "Durations":
        """Return both together."""
        return Durations(self.count + other.count, self.seconds + other.seconds)


@dataclass
class ModelStatistics:
    """Totals of a model since it was loaded.

    Attributes:
        images: answered.
        last_at: seconds since 1970 of the last answer; 0 before the first.
        success: requests answered, from admission to answer.
        fail: requests that failed or were abandoned; their time is not measured.
        queue: images waiting for a stage.
        stages: runs of a stage, by how many images they had.
    """

    images: int = 0
    last_at: float = 0.0
    success: Durations = field(default_factory=Durations)
    fail: Durations = field(default_factory=Durations)
    queue: Durations = field(default_factory=Durations)
    stages: dict[int, Durations] = field(default_factory=lambda: defaultdict(Durations))

    @property
    def run(self) -> Durations:
        """All runs of a stage."""
        return Durations(
            sum(found.count for found in self.stages.values()),
            sum(found.seconds for found in self.stages.values()),
        )

    def __add__(self, other: "ModelStatistics") -> "ModelStatistics":
        """Return what two processes did."""
        sizes, none = {*self.stages, *other.stages}, Durations()
        return ModelStatistics(
            self.images + other.images,
            max(self.last_at, other.last_at),
            self.success + other.success,
            self.fail + other.fail,
            self.queue + other.queue,
            {rows: self.stages.get(rows, none) + other.stages.get(rows, none) for rows in sizes},
        )


class Statistics:
    """Counts for each model; called with events from any thread.

    Args:
        now: seconds since 1970.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._models: dict[tuple[str, str], ModelStatistics] = defaultdict(ModelStatistics)

    def __call__(self, event: Event) -> None:
        """Count one event of a model that has one version."""
        self._count(event, "1")

    def version(self, name: str, number: str) -> Callable[[Event], None]:
        """Return what counts the events of a version, from the beginning."""
        with self._lock:
            self._models.pop((name, number), None)
        return lambda event: self._count(event, number)

    def _count(self, event: Event, number: str) -> None:
        match event:
            case RequestDone(model, exits, seconds=seconds):
                with self._lock:
                    found = self._models[model, number]
                    found.images += len(exits)
                    found.success.add(1, seconds)
                    found.last_at = self._now()
            case RequestFailed(model):
                with self._lock:
                    self._models[model, number].fail.add(1, 0.0)
            case StageRan(model, _, rows, seconds, queue_seconds):
                with self._lock:
                    found = self._models[model, number]
                    found.queue.add(rows, sum(queue_seconds))
                    found.stages[rows].add(1, seconds)
            case _:
                pass

    def of(self, model: str, number: str = "1") -> ModelStatistics:
        """Return what a version of a model has done so far: a copy, which stays as it is."""
        with self._lock:
            found = self._models[model, number]
            stages = {rows: Durations(run.count, run.seconds) for rows, run in found.stages.items()}
            return ModelStatistics(
                found.images,
                found.last_at,
                Durations(found.success.count, found.success.seconds),
                Durations(found.fail.count, found.fail.seconds),
                Durations(found.queue.count, found.queue.seconds),
                stages,
            )
