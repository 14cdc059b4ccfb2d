"""Adds up the metrics of several processes: what a scrape of one of them would say of a part alone.

Counters and histograms are summed. A gauge is what `GAUGES` says of it: the sum of what waits or is held, the
highest of what is an alarm, the lowest of what is well only where it is well everywhere, the mean of what
each process has learned by itself.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

Combine = Callable[[Sequence[float]], float]
Labels = tuple[tuple[str, str], ...]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


GAUGES: dict[str, Combine] = {
    "offramp_accuracy_alarm": max,
    "offramp_agreement_alarm": max,
    "offramp_agreement_expected_ratio": max,
    "offramp_brownout_ratio": min,
    "offramp_budget_correction_ratio": _mean,
    "offramp_budget_error_ratio": _mean,
    "offramp_build_info": max,
    "offramp_decode_stalled_seconds": max,
    "offramp_decode_threads": sum,
    "offramp_decode_waiting": sum,
    "offramp_drift_alarm": max,
    "offramp_drift_limit_ratio": max,
    "offramp_drift_score_ratio": max,
    "offramp_exit_seconds": _mean,
    "offramp_lost_answers_bound_ratio": max,
    "offramp_model_info": max,
    "offramp_model_load_seconds": max,
    "offramp_model_memory_bytes": sum,
    "offramp_model_up": min,
    "offramp_processes": sum,
    "offramp_queue_capacity_rows": sum,
    "offramp_queue_rows": sum,
    "offramp_stalled_seconds": max,
    "offramp_waiting_body_bytes": sum,
    "process_max_fds": min,
    "process_open_fds": sum,
    "process_resident_memory_bytes": sum,
    "process_start_time_seconds": min,
    "process_virtual_memory_bytes": sum,
}
"""How each gauge of the server is combined."""

_SUMMED = ("counter", "histogram")


def summed(processes: Iterable[Iterable[Metric]]) -> list[Metric]:
    """Combine the metrics of processes, family by family and sample by sample.

    A gauge that is not in `GAUGES` is summed. Of exemplars the last one stays.

    Args:
        processes: what the registry of each holds.
    """
    families: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, Labels], list[Sample]]] = {}
    for metrics in processes:
        for family in metrics:
            families.setdefault(family.name, family)
            samples = values.setdefault(family.name, {})
            for sample in family.samples:
                samples.setdefault((sample.name, tuple(sorted(sample.labels.items()))), []).append(sample)
    return [_family(family, values[name]) for name, family in families.items()]


def counted(metrics: Iterable[Metric]) -> list[Metric]:
    """Return what must not be lost with a process that ends: its counters and histograms."""
    return [family for family in metrics if family.type in _SUMMED]


class Exposed:
    """A registry's face over metrics that are there already.

    Args:
        metrics: to be shown.
    """

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Sequence[Metric]:
        """Return them."""
        return self._metrics


def _family(like: Metric, samples: dict[tuple[str, Labels], list[Sample]]) -> Metric:
    family = Metric(like.name, like.documentation, like.type, like.unit)
    gauge = GAUGES.get(like.name, sum) if like.type not in _SUMMED else sum
    for (name, labels), found in samples.items():
        combine: Any = min if name.endswith("_created") else gauge
        exemplar = next((each.exemplar for each in reversed(found) if each.exemplar is not None), None)
        value = float(combine([each.value for each in found]))
        family.samples.append(Sample(name, dict(labels), value, None, exemplar))
    return family
