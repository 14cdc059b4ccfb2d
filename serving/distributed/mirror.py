"""The server's metrics as metrics of Ray (`ray.util.metrics`), which gathers them from all replicas."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric


class RayMetric(Protocol):
    """A counter (`inc`) or a gauge (`set`) of Ray."""

    def inc(self, value: float, tags: Mapping[str, str]) -> None:
        """Count."""

    def set(self, value: float, tags: Mapping[str, str]) -> None:
        """Show."""


Make = Callable[[str, str, str, tuple[str, ...]], RayMetric]
"""`counter` or `gauge`, a name, a description and the names of tags -> a metric of Ray."""


class Mirror:
    """Copies counters and gauges of a registry into Ray's metrics; histograms have no counterpart.

    Args:
        registry: of the server's metrics.
        make: makes Ray's.
    """

    def __init__(self, registry: CollectorRegistry, make: Make) -> None:
        self._registry, self._make = registry, make
        self._made: dict[str, RayMetric] = {}
        self._counted: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def copy(self) -> None:
        """Bring Ray's metrics up to date."""
        for family in self._registry.collect():
            if family.type in ("counter", "gauge"):
                self._copy(family)

    def _copy(self, family: Metric) -> None:
        for sample in family.samples:
            if sample.name.endswith("_created"):
                continue
            name = sample.name
            if name not in self._made:
                tags = tuple(sorted(sample.labels))
                self._made[name] = self._make(family.type, name, family.documentation, tags)
            if family.type == "gauge":
                self._made[name].set(sample.value, sample.labels)
                continue
            key = (name, tuple(sorted(sample.labels.items())))
            more = sample.value - self._counted.get(key, 0.0)
            self._counted[key] = sample.value
            if more > 0:  # Ray's counters refuse 0
                self._made[name].inc(more, sample.labels)


def ray_metric(kind: str, name: str, description: str, tags: tuple[str, ...]) -> Any:
    """Make a metric of Ray that names the replica, too."""
    from ray.serve import metrics

    made = metrics.Counter if kind == "counter" else metrics.Gauge
    return made(name, description=description, tag_keys=tags)
