"""A Prometheus histogram that takes the values of a whole batch at once.

prometheus_client's own takes one value at a time, with a lock for each: for the rows of a batch that costs
more than the rest of the bookkeeping together.
"""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector


@dataclass
class _Series:
    """Counts of values between the bounds, and their sum."""

    counts: list[int]
    sum: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


class BatchHistogram(Collector):
    """A histogram with labels.

    Args:
        name: of the metric.
        documentation: what it measures.
        labels: their names.
        buckets: upper bounds, ascending, without infinity.
        registry: where it is registered.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name, self._documentation, self._labels = name, documentation, tuple(labels)
        self._bounds = tuple(buckets)
        self._series: dict[tuple[str, ...], _Series] = {}
        self._lock = threading.Lock()
        registry.register(self)

    def observe(self, labels: tuple[str, ...], values: Sequence[float]) -> None:
        """Count values of one set of labels; from any thread."""
        series = self._series.get(labels) or self._add(labels)
        with series.lock:
            for value in values:
                series.counts[bisect_left(self._bounds, value)] += 1
            series.sum += sum(values)

    def describe(self) -> Iterable[HistogramMetricFamily]:
        """Name the metric, for the registry."""
        return [HistogramMetricFamily(self._name, self._documentation, labels=self._labels)]

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """Return what was counted, for the registry."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for labels, series in list(self._series.items()):
            with series.lock:
                counts, total = accumulate(series.counts), series.sum
                buckets = list(zip(bounds, counts, strict=True))
            family.add_metric(labels, buckets, total)
        return [family]

    def _add(self, labels: tuple[str, ...]) -> _Series:
        with self._lock:
            return self._series.setdefault(labels, _Series([0] * (len(self._bounds) + 1)))
