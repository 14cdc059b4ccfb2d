"""The parent's view of its children as one server: the state behind the routes, added up."""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any, NoReturn, TypeVar

from prometheus_client.metrics_core import Metric
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.bundle.samples import Samples
from serving.errors import ClosedError
from serving.monitoring.health import Health
from serving.monitoring.merging import merged_health
from serving.policy.guarantee import Guaranteed
from serving.policy.plan import Plan
from serving.processes.children import Children
from serving.processes.messages import GUARANTEE, PLAN, SAMPLES
from serving.processes.shapes import SlotShape, Snapshot, VersionShape
from serving.repository.comparison import Compared
from serving.repository.live import LiveModels, Slot, Version
from serving.telemetry.live import Live, Second
from serving.telemetry.metrics import Metrics
from serving.telemetry.statistics import ModelStatistics, Statistics
from serving.telemetry.summing import summed
from serving.web.recent import RecentImages, Seen
from serving.web.service import Service

_LOOKED_AT = re.compile(r"/(metrics|models(/.*)?|v2(/.*)?)")
_PARTS = (
    (re.compile(r"/metrics"), "metrics"),
    (re.compile(r"/models/[^/]+/live"), "live"),
    (re.compile(r"/models/[^/]+/compare"), "compared"),
    (re.compile(r"/models/[^/]+/recent"), "recent"),
    (re.compile(r"/v2/models/.*stats"), "statistics"),
)

Ask = Callable[..., Any]
Sum = TypeVar("Sum", Second, ModelStatistics)


class GatheredModel:
    """A version of a model in all processes; a `serving.web.service.ServedModel`.

    Args:
        name: of the model.
        number: of the version.
        shapes: what it is like in each process, at least one.
        ask: has any process answer what needs a plan, or a bundle.
    """

    def __init__(self, name: str, number: str, shapes: Sequence[VersionShape], ask: Ask) -> None:
        first = shapes[0]
        self.name, self._number, self._ask = name, number, ask
        self.manifest, self.identity, self.exit_flops = first.manifest, first.identity, first.exit_flops
        self.providers, self.features_on = first.providers, first.features_on
        self.arithmetic, self.arithmetic_differs = first.arithmetic, first.arithmetic_differs
        self.runtime_milliseconds: Mapping[str, float] = first.runtime_milliseconds
        self.exit_seconds = _mean([shape.exit_seconds for shape in shapes])
        self.alive = all(shape.alive for shape in shapes)
        self.stalled_seconds = max(shape.stalled_seconds for shape in shapes)
        self.waiting_rows = sum(shape.waiting_rows for shape in shapes)
        self._shapes = shapes

    @property
    def samples(self) -> Samples | None:
        """Images to try it with; None where its bundle has none."""
        found: Samples | None = self._ask(SAMPLES, self.name, self._number)
        return found

    def plan(self, budget: str) -> Plan:
        """Say what a budget buys."""
        plan: Plan = self._ask(PLAN, self.name, self._number, budget)
        return plan

    def guarantee(self, max_drop: float, budget: str | None) -> Guaranteed:
        """Say what a guarantee costs."""
        found: Guaranteed = self._ask(GUARANTEE, self.name, self._number, max_drop, budget)
        return found

    def submit(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse images: requests with images go to a process that computes."""
        raise ClosedError("images are answered by another process")

    def health(self) -> Health:
        """Say how it is doing."""
        return merged_health([shape.health for shape in self._shapes])

    def image_seconds(self) -> tuple[float, ...]:
        """Say how long each stage takes for an image: the mean of all processes."""
        return _mean([shape.image_seconds for shape in self._shapes])


def _mean(vectors: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """The mean of vectors, place by place; empty where one of them is."""
    if not all(vectors):
        return ()
    return tuple(sum(each) / len(vectors) for each in zip(*vectors, strict=True))


def show_models(live: LiveModels[Any], snapshots: Sequence[Snapshot], ask: Ask) -> None:
    """Let `live` have the models that processes have, as they are in all of them."""
    slots: dict[str, list[SlotShape]] = {}
    for snapshot in snapshots:
        for name, slot in snapshot.slots.items():
            slots.setdefault(name, []).append(slot)
    for name in [name for name in live.slots if name not in slots]:
        live.remove(name)
    for name, found in slots.items():
        live.put(_slot(name, found, ask))


def _slot(name: str, found: Sequence[SlotShape], ask: Ask) -> Slot[Any]:
    first = found[0]
    versions = {
        number: Version(
            number,
            GatheredModel(name, number, [s.versions[number] for s in found if number in s.versions], ask),
            first.versioned,
        )
        for number in first.versions
    }
    return Slot(
        name,
        first.versioned,
        versions,
        first.current,
        first.previous,
        first.pinned,
        first.canary,
        first.shadow,
    )


class GatheredLive(Live):
    """The last minutes of all processes."""

    def __init__(self, children: Children) -> None:
        super().__init__()
        self._children = children

    def seconds_of(self, model: str) -> Mapping[int, Second]:
        """Return the seconds in which any process did anything."""
        found: dict[int, Second] = {}
        for snapshot in self._children.told():
            for number, second in snapshot.live.get(model, {}).items():
                found[number] = found[number] + second if number in found else second
        return found


class GatheredStatistics(Statistics):
    """Totals of all processes."""

    def __init__(self, children: Children) -> None:
        super().__init__()
        self._children = children

    def of(self, model: str, number: str = "1") -> ModelStatistics:
        """Return what a version of a model has done in all processes."""
        found = [snapshot.statistics.get((model, number)) for snapshot in self._children.told()]
        return reduce(add, (each for each in found if each is not None), ModelStatistics())


class GatheredRecent(RecentImages):
    """The latest images of all processes."""

    def __init__(self, keep: int, children: Children) -> None:
        super().__init__(keep)
        self._children = children

    def of(self, model: str, exit_number: int) -> list[Seen]:
        """Return what is kept of a model's exit, the newest first."""
        key = model, exit_number
        found = [seen for snapshot in self._children.told() for seen in snapshot.recent.get(key, [])]
        return sorted(found, key=lambda seen: seen.at, reverse=True)[: self.keep]


class GatheredMetrics(Metrics):
    """The metrics of all processes, this one included."""

    def __init__(self, children: Children) -> None:
        super().__init__()
        self._children = children

    def collected(self) -> list[Metric]:
        """Return all metrics as they are now."""
        return summed([super().collected(), *self._children.metrics()])


def compared(children: Children, name: str) -> list[Compared]:
    """Return how canary and shadow of a model do in all processes."""
    found: list[Compared] = []
    for snapshot in children.told():
        for each in snapshot.compared.get(name, []):
            place = next((place for place, other in enumerate(found) if other.is_like(each)), None)
            if place is None:
                found.append(each)
            else:
                found[place] += each
    return found


@dataclass
class GatheredService(Service):
    """The state behind the parent's routes.

    Args:
        children: who compute.
    """

    children: Children = field(default_factory=Children)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.recent is not None:
            self.recent = GatheredRecent(self.settings.keep_recent, self.children)

    @property
    def unready(self) -> str | None:
        """Why the server should get no traffic now; None where it should: one process is enough."""
        if self.draining:
            return "the server is shutting down"
        if self.children.given_up is not None:
            return self.children.given_up
        reasons = [snapshot.unready for snapshot in self.children.told()]
        if not reasons:
            return "no process answers"
        return reasons[0] if all(reasons) else None

    @property
    def dead(self) -> str | None:
        """None: a process that hangs is replaced by this one."""
        return None


class Looking:
    """An ASGI app that asks the children what a route is to show, and then has the route show it.

    Args:
        app: has the routes.
        service: gets what they say.
    """

    def __init__(self, app: ASGIApp, service: GatheredService) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope.get("path", "")
        if scope["type"] == "http" and _LOOKED_AT.fullmatch(path):
            parts = [part for pattern, part in _PARTS if pattern.fullmatch(path)]
            await asyncio.to_thread(look, self._service, parts)
        await self._app(scope, receive, send)


def look(service: GatheredService, parts: Sequence[str] = ()) -> None:
    """Ask the children, and let a service show what they say."""
    children = service.children
    show_models(service.loaded, children.look(parts), children.ask_any)
