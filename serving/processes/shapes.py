"""What processes tell each other of their models: plain values, which can be sent."""

from dataclasses import dataclass, field
from typing import Any

from serving.bundle.manifest import Arithmetic, Manifest
from serving.monitoring.health import Health
from serving.repository.comparison import Compared
from serving.repository.live import LiveModels, Split
from serving.repository.opener import DiffersFromCalibration
from serving.telemetry.live import Second
from serving.telemetry.statistics import ModelStatistics
from serving.web.recent import Seen
from serving.web.served import ServedModel


@dataclass(frozen=True)
class VersionShape:
    """A loaded version of a model, as it is in one process at a moment; see `serving.model.Model`."""

    manifest: Manifest
    identity: str
    exit_flops: tuple[int, ...]
    providers: tuple[str, ...]
    features_on: str
    arithmetic: Arithmetic
    runtime_milliseconds: dict[str, float]
    arithmetic_differs: DiffersFromCalibration | None
    exit_seconds: tuple[float, ...]
    alive: bool
    stalled_seconds: float
    waiting_rows: int
    image_seconds: tuple[float, ...]
    health: Health


@dataclass(frozen=True)
class SlotShape:
    """What answers to one name in one process; see `serving.repository.live.Slot`."""

    versioned: bool
    versions: dict[str, VersionShape]
    current: str
    previous: str | None
    pinned: bool
    canary: Split | None
    shadow: Split | None


@dataclass(frozen=True)
class Snapshot:
    """What one process says of itself; parts that nobody asked for are empty.

    Attributes:
        slots: its models, by name.
        unready: why it should get no traffic; None where it should.
        dead: why it should be replaced; None where it is well.
        metrics: of its registry (`prometheus_client.metrics_core.Metric`).
        live: seconds of each model.
        statistics: totals of each version.
        compared: canaries and shadows of each model.
        recent: the latest images of each model and exit.
    """

    slots: dict[str, SlotShape] = field(default_factory=dict)
    unready: str | None = None
    dead: str | None = None
    metrics: list[Any] = field(default_factory=list)
    live: dict[str, dict[int, Second]] = field(default_factory=dict)
    statistics: dict[tuple[str, str], ModelStatistics] = field(default_factory=dict)
    compared: dict[str, list[Compared]] = field(default_factory=dict)
    recent: dict[tuple[str, int], list[Seen]] = field(default_factory=dict)


def slots_of(live: LiveModels[Any]) -> dict[str, SlotShape]:
    """Describe the models of this process."""
    return {
        name: SlotShape(
            slot.versioned,
            {number: _version(version.model) for number, version in slot.versions.items()},
            slot.current,
            slot.previous,
            slot.pinned,
            slot.canary,
            slot.shadow,
        )
        for name, slot in live.slots.items()
    }


def _version(model: ServedModel) -> VersionShape:
    return VersionShape(
        model.manifest,
        model.identity,
        model.exit_flops,
        model.providers,
        model.features_on,
        model.arithmetic,
        dict(model.runtime_milliseconds),
        model.arithmetic_differs,
        model.exit_seconds,
        model.alive,
        model.stalled_seconds,
        model.waiting_rows,
        model.image_seconds(),
        model.health(),
    )
