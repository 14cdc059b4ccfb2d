"""Prometheus collectors: metrics by labels that are looked up once, and values looked up when asked for."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

MetricT = TypeVar("MetricT", bound=MetricWrapperBase)


class Children(dict[tuple[str, ...], MetricT]):
    """A metric by its labels, which are few; `labels()` checks and locks each time it is asked.

    Args:
        metric: with labels.
    """

    def __init__(self, metric: MetricT) -> None:
        self._metric = metric

    def __missing__(self, labels: tuple[str, ...]) -> MetricT:
        child = self[labels] = self._metric.labels(*labels)
        return child


class Watched(Collector):
    """One value, looked up when it is asked for."""

    def __init__(self, name: str, help_text: str, value: Callable[[], float], *, counts: bool) -> None:
        self._name, self._help, self._value = name, help_text, value
        self._family = CounterMetricFamily if counts else GaugeMetricFamily

    def collect(self) -> Iterable[Metric]:
        """Look it up."""
        yield self._family(self._name, self._help, value=self._value())


class WatchedByModel(Collector):
    """One value for each model, looked up when they are asked for."""

    def __init__(self, name: str, help_text: str, values: Callable[[], Mapping[str, float]]) -> None:
        self._name, self._help, self._values = name, help_text, values

    def collect(self) -> Iterable[Metric]:
        """Look them up."""
        family = GaugeMetricFamily(self._name, self._help, labels=("model",))
        for model, value in self._values().items():
            family.add_metric((model,), value)
        yield family
