"""A model that answers at once, or when told: all that HTTP needs of one."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.answer import Answer
from serving.bundle.manifest import Arithmetic, Manifest
from serving.bundle.samples import Samples
from serving.events import Event
from serving.monitoring.health import Health
from serving.options import ClassifyOptions
from serving.policy.budget import parse_budget
from serving.policy.guarantee import Certificate, Guaranteed
from serving.policy.plan import Plan
from serving.scheduler.request import StageTime
from serving.settings import Settings
from serving.telemetry.metrics import Metrics
from serving.web.reading.decode_pool import Step
from serving.web.service import Service
from tests.bundles import FLOAT32, tiny_manifest


@dataclass
class FakeWork:
    future: Future[Any] = field(default_factory=Future)
    stage_times: Sequence[StageTime] | None = None

    def cancel(self) -> None:
        self.future.cancel()


@dataclass
class FakeModel:
    """Leaves every image at exit 1 and calls it by the first pixel's value modulo the classes."""

    name: str = "tiny"
    alive: bool = True
    stalled_seconds: float = 0.0
    waiting_rows: int = 0
    held: bool = False
    """Whether answers wait for somebody to set them."""
    failure: Exception | None = None
    """What `submit` raises."""
    works: list[FakeWork] = field(default_factory=list)
    asked: list[tuple[npt.NDArray[np.uint8], ClassifyOptions]] = field(default_factory=list)
    default_budget: str = "100%"
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    features_on: str = "host"
    arithmetic: Arithmetic = FLOAT32
    exit_seconds: tuple[float, ...] = ()
    runtime_milliseconds: Mapping[str, float] = field(default_factory=dict)
    arithmetic_differs: Any = None
    budget_share: float = 1.0
    sampled: dict[int, int] = field(default_factory=dict)
    """What the last exit says of images, by their place in a request."""
    samples: Samples | None = None
    state: Health = field(default_factory=lambda: Health(True, None, {}, {}, 0))

    @property
    def manifest(self) -> Manifest:
        return _manifest()

    @property
    def identity(self) -> str:
        return self.manifest.identity

    @property
    def exit_flops(self) -> tuple[int, ...]:
        return self.manifest.exit_flops

    def plan(self, budget: str) -> Plan:
        budget_flops = parse_budget(budget, self.exit_flops)
        thresholds, shares = np.array([0.75, 1.5, -np.inf]), np.array([0.5, 0.0, 0.5])
        return Plan(budget_flops, thresholds, shares, 4000.0, 0.875, (0.8, 0.9), 200, "held out")

    def guarantee(self, max_drop: float, budget: str | None) -> Guaranteed:
        return Guaranteed(self.plan(budget or "60%"), Certificate(max_drop, 0.05, 400, 0.01, 0.02))

    def health(self) -> Health:
        return self.state

    def image_seconds(self) -> tuple[float, ...]:
        return (0.001, 0.002, 0.004)

    def submit(
        self,
        images: npt.NDArray[np.uint8],
        ask: ClassifyOptions,
        *,
        received_at: float,
        told: Callable[[int, int], None] = lambda place, class_index: None,
    ) -> FakeWork:
        if self.failure is not None:
            raise self.failure
        self.asked.append((images, ask))
        times = [StageTime("stage 1", time.monotonic(), 0.002, len(images), 8)] if ask.timings else None
        self.works.append(FakeWork(stage_times=times))
        for place, final in self.sampled.items():
            told(place, final)
        if not self.held:
            self.works[-1].future.set_result([self._answer(image, ask) for image in images])
        return self.works[-1]

    def _answer(self, image: npt.NDArray[np.uint8], ask: ClassifyOptions) -> Answer:
        classes = self.manifest.classes
        index = int(image[0, 0, 0]) % len(classes)
        budget_flops = parse_budget(str(ask.budget or self.default_budget), self.exit_flops)
        met = None if ask.deadline_seconds is None else True
        probabilities = np.full(len(classes), 0.5 / (len(classes) - 1), np.float32)
        probabilities[index] = 0.5
        return Answer(
            classes[index],
            index,
            0.5,
            1,
            self.exit_flops[0],
            budget_flops,
            self.name,
            met,
            probabilities if ask.probabilities else None,
            budget_share=self.budget_share,
        )


def fake_service(*models: FakeModel, **settings: Any) -> tuple[Service, list[Event]]:
    """Return a service over fakes, and the list that its events go to."""
    events: list[Event] = []
    named = {model.name: model for model in models or (FakeModel(),)}
    return Service(named, Settings(**settings), Metrics(), events.append), events


def once(work: Callable[[], object]) -> Step:
    """Return a step for a `DecodePool` that is over after one call, whatever `work` returns."""

    def step() -> bool:
        work()
        return False

    return step


@cache
def _manifest() -> Manifest:
    return tiny_manifest()
