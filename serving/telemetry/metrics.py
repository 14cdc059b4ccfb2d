"""Prometheus metrics: a listener of the core's events, with a registry of its own.

Exits and stages are numbered from 1, as everywhere a user looks. Every label is bounded: models are those
loaded, exits those of the models, routes are templates, errors are class names.
"""

from collections import Counter as Tally
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics

from serving.events import (
    BudgetKind,
    CurrentVersion,
    Event,
    KeyLimited,
    ModelLoaded,
    ModelRefused,
    ModelStalled,
    ModelUnloaded,
    RequestDone,
    RequestFailed,
    RequestRefused,
    RowsBroken,
    StageRan,
    WorkerDied,
)
from serving.telemetry.batch_histogram import BatchHistogram
from serving.telemetry.collectors import Children, Watched, WatchedByModel
from serving.telemetry.comparison_metrics import ComparisonMetrics
from serving.telemetry.monitoring_metrics import MonitoringMetrics
from serving.telemetry.repository_metrics import RepositoryMetrics
from serving.telemetry.summing import Exposed

_ON_TOP = ("explain", "shadow")  # of what answers cost
KINDS = tuple(kind for kind in get_args(BudgetKind) if kind not in _ON_TOP)

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counts what the core reports; one object, one registry, so that two servers never share numbers.

    Args:
        registry: where the metrics are registered; a fresh one by default.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry = registry or CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=registry)
        self._http_requests = Counter(
            "offramp_http_requests", "HTTP requests answered.", ("route", "status"), registry=registry
        )
        self._http_seconds = Histogram(
            "offramp_http_request_seconds",
            "From the end of the request's headers to the end of the answer.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._exits = Counter(
            "offramp_exits", "Images answered at each exit.", ("model", "exit"), registry=registry
        )
        self._spent = Counter(
            "offramp_spent_flops",
            "Nominal FLOPs spent on answered images, by the promise they were given.",
            ("model", "kind"),
            registry=registry,
        )
        self._asked = Counter(
            "offramp_asked_flops",
            "Sum of the budgets of answered images, by the promise they were given.",
            ("model", "kind"),
            registry=registry,
        )
        self._spent_seconds = Counter(
            "offramp_spent_seconds",
            "Seconds of compute spent on answered images whose budget is a time, as measured at load.",
            ("model", "kind"),
            registry=registry,
        )
        self._asked_seconds = Counter(
            "offramp_asked_seconds",
            "Sum of the budgets of answered images whose budget is a time.",
            ("model", "kind"),
            registry=registry,
        )
        self._exit_seconds = Gauge(
            "offramp_exit_seconds",
            "Compute of an image that leaves at an exit, as measured when the model was loaded.",
            ("model", "exit"),
            registry=registry,
        )
        self._saved = Counter(
            "offramp_saved_flops",
            "Nominal FLOPs that the full depth would have cost on top.",
            ("model",),
            registry=registry,
        )
        self._skipped = Counter(
            "offramp_skipped_head_flops",
            "FLOPs of heads that no image could leave at and that did not run; budgets count them too.",
            ("model", "exit"),
            registry=registry,
        )
        self._full_flops: dict[str, int] = {}
        self._head_flops: dict[str, tuple[int, ...]] = {}
        self._promises = MonitoringMetrics(registry)
        self._repository = RepositoryMetrics(registry)
        self._comparisons = ComparisonMetrics(registry)
        self._request_seconds = Histogram(
            "offramp_request_seconds",
            "From admission to answer.",
            ("model",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._batch_rows = Histogram(
            "offramp_batch_rows",
            "Images in one run of a stage.",
            ("model", "stage"),
            buckets=_ROWS,
            registry=registry,
        )
        self._stage_seconds = Histogram(
            "offramp_stage_seconds",
            "One run of a stage.",
            ("model", "stage"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._queue_seconds = BatchHistogram(
            "offramp_queue_seconds",
            "Seconds that an image waited for a stage.",
            ("model", "stage"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._errors = Counter(
            "offramp_errors", "Requests that ended in an error, by its kind.", ("error",), registry=registry
        )
        self._key_limited = Counter(
            "offramp_key_limited",
            "Requests refused since their API key had asked for more than it may.",
            ("key", "limit"),
            registry=registry,
        )
        self._failed_rows = Counter(
            "offramp_failed_images",
            "Admitted images whose request failed or was abandoned.",
            ("model",),
            registry=registry,
        )
        self._broken = Counter(
            "offramp_broken_images",
            "Images on which the net put out NaN or infinity on its way to an exit.",
            ("model", "exit"),
            registry=registry,
        )
        self._up = Gauge(
            "offramp_model_up",
            "1 while the model's worker lives and does not hang, else 0.",
            ("model",),
            registry=registry,
        )
        self._restarts = Counter(
            "offramp_worker_failures", "Failures of a model's worker.", ("model",), registry=registry
        )
        self._runs_on = Gauge(
            "offramp_model_info",
            "1, with what the model runs on, what it computes in and where its features wait as labels.",
            ("model", "provider", "features", "runtime", "precision"),
            registry=registry,
        )

        self._build = Gauge(
            "offramp_build_info",
            "1, with the versions of Offramp and Python as labels.",
            ("version", "python"),
            registry=registry,
        )

        self._process_failures = Counter(
            "offramp_process_failures",
            "Processes that ended, or were ended since they hung, and were not told to.",
            registry=registry,
        )

        # Counters of each request or batch are looked up once for each set of labels.
        self._http_requests_of = Children(self._http_requests)
        self._http_seconds_of = Children(self._http_seconds)
        self._exits_of, self._saved_of = Children(self._exits), Children(self._saved)
        self._spent_of, self._asked_of = Children(self._spent), Children(self._asked)
        self._request_seconds_of = Children(self._request_seconds)
        self._batch_rows_of = Children(self._batch_rows)
        self._stage_seconds_of = Children(self._stage_seconds)
        self._skipped_of = Children(self._skipped)

    def __call__(self, event: Event) -> None:
        """Count one event; called from any thread."""
        match event:
            case StageRan(model, stage, rows, seconds, queue_seconds, skipped_heads):
                straight = skipped_heads not in ((), (stage,))
                labels = (model, "whole" if straight else str(stage + 1))
                self._batch_rows_of[labels].observe(rows)
                self._stage_seconds_of[labels].observe(seconds)
                self._queue_seconds.observe(labels, queue_seconds)
                heads = self._head_flops.get(model, ())  # the current version's; another may have more
                for exit_index in (index for index in skipped_heads if index < len(heads)):
                    head_flops = heads[exit_index]
                    self._skipped_of[model, str(exit_index + 1)].inc(rows * head_flops)
            case RequestDone() if event.kind not in _ON_TOP:
                self._count_answers(event)
            case RequestFailed(model, error, rows):
                self._errors.labels(error).inc()
                self._failed_rows.labels(model).inc(rows)
            case RowsBroken(model, exit_index, rows):
                self._broken.labels(model, str(exit_index + 1)).inc(rows)
            case RequestRefused(error):
                self._errors.labels(error).inc()
            case KeyLimited(key, limit):
                self._key_limited.labels(key, limit).inc()
            case WorkerDied() | ModelStalled():
                self._note_worker(event)
            case ModelLoaded() | ModelRefused() | ModelUnloaded() | CurrentVersion():
                self._note_repository(event)
            case _:
                self._promises(event)
                self._comparisons(event)

    def _note_repository(self, event: ModelLoaded | ModelRefused | ModelUnloaded | CurrentVersion) -> None:
        self._repository(event)
        match event:
            case CurrentVersion(model, _, exit_flops, head_flops, providers, features, runtime, precision):
                self.loaded(model, exit_flops, head_flops)
                self.timed(model, event.exit_seconds)
                self.runs_on(model, providers, features, runtime, precision)
            case ModelUnloaded(model, last=True):
                self._forget(model)
            case _:
                pass

    def _note_worker(self, event: WorkerDied | ModelStalled) -> None:
        if isinstance(event, WorkerDied):
            self._restarts.labels(event.model).inc()
            self._up.labels(event.model).set(int(event.goes_on))
        else:
            self._up.labels(event.model).set(int(event.over))

    def _count_answers(self, done: RequestDone) -> None:
        model, exits, flops = done.model, done.exits, done.flops
        for exit_index, count in Tally(exits).items() if len(exits) > 1 else ((exits[0], 1),):
            self._exits_of[model, str(exit_index + 1)].inc(count)
        self._spent_of[model, done.kind].inc(sum(flops))
        self._asked_of[model, done.kind].inc(done.budget_flops * len(exits))
        if done.time is not None:
            seconds = [done.time.exit_seconds[exit_index] for exit_index in exits]
            self._spent_seconds.labels(model, done.kind).inc(sum(seconds))
            self._asked_seconds.labels(model, done.kind).inc(done.time.seconds * len(exits))
        if done.budget_share < 1:
            self._promises.lowered(model, len(exits))
        full_flops = done.full_flops or self._full_flops.get(model)
        if full_flops is not None:
            self._saved_of[(model,)].inc(full_flops * len(exits) - sum(flops))
        self._request_seconds_of[(model,)].observe(done.seconds)

    def loaded(self, model: str, exit_flops: Sequence[int], head_flops: Sequence[int] = ()) -> None:
        """Declare a model, so that its counters start at 0 instead of appearing with the first image.

        Args:
            model: its name.
            exit_flops: K costs of leaving at an exit, in FLOPs per image.
            head_flops: K costs of the heads alone; without them no head counts as skipped.
        """
        self._up.labels(model).set(1)
        self._full_flops[model] = exit_flops[-1]
        for counter in (self._saved, self._failed_rows, self._restarts):
            counter.labels(model)
        for kind in KINDS:
            self._spent.labels(model, kind)
            self._asked.labels(model, kind)
        for number in range(1, len(exit_flops) + 1):
            self._exits.labels(model, str(number))
            self._broken.labels(model, str(number))
        self._promises.loaded(model, len(exit_flops))
        if head_flops:
            self._head_flops[model] = tuple(head_flops)
            for number in range(1, len(exit_flops)):
                self._skipped_of[model, str(number)].inc(0)

    def _forget(self, model: str) -> None:
        """Show no state of a model that is gone; what was counted stays."""
        for gauge in (self._up, self._runs_on, self._exit_seconds):
            gauge.remove_by_labels({"model": model})
        self._promises.forget(model)

    def runs_on(
        self, model: str, providers: Sequence[str], features: str, runtime: str, precision: str
    ) -> None:
        """Say what a model runs on, best first, where its features wait, and what computes it in what."""
        self._runs_on.remove_by_labels({"model": model})
        self._runs_on.labels(model, providers[0], features, runtime, precision).set(1)

    def timed(self, model: str, exit_seconds: Sequence[float]) -> None:
        """Say what leaving at each exit takes, in seconds per image [K]; nothing where that is not known."""
        self._exit_seconds.remove_by_labels({"model": model})
        for number, seconds in enumerate(exit_seconds, start=1):
            self._exit_seconds.labels(model, str(number)).set(seconds)

    def answered(
        self, route: str, status: int, seconds: float, exemplar: dict[str, str] | None = None
    ) -> None:
        """Count one HTTP answer.

        Args:
            route: the template, never the path.
            status: of the answer.
            seconds: from the end of the request's headers to its end.
            exemplar: the trace that it is an example of.
        """
        self._http_requests_of[route, str(status)].inc()
        self._http_seconds_of[(route,)].observe(seconds, exemplar)

    def watch(self, name: str, help_text: str, value: Callable[[], float], *, counts: bool = False) -> None:
        """Show a value that is looked up whenever the metrics are asked for.

        Args:
            name: of the metric.
            help_text: a sentence.
            value: returns it; called from the thread that asks.
            counts: whether it only ever grows.
        """
        self.registry.register(Watched(name, help_text, value, counts=counts))

    def watch_models(self, name: str, help_text: str, values: Callable[[], Mapping[str, float]]) -> None:
        """Show a value of each model, looked up whenever the metrics are asked for.

        Args:
            name: of the metric.
            help_text: a sentence.
            values: returns them by the model's name; called from the thread that asks.
        """
        self.registry.register(WatchedByModel(name, help_text, values))

    def processes(self, count: Callable[[], int]) -> None:
        """Show how many processes answer images; the one that holds the others together shows it for all."""
        self.watch("offramp_processes", "Processes that answer images.", count)

    def process_failed(self) -> None:
        """Count a process that ended before it was told to."""
        self._process_failures.inc()

    def built(self, version: str, python: str) -> None:
        """Say which version of Offramp serves, and on which version of Python."""
        self._build.labels(version, python).set(1)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return self.exposition("")[0]

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics, and their media type.

        Args:
            accept: the media types that the caller takes: OpenMetrics, which has exemplars, where it is
                named; else Prometheus' text format.
        """
        taken = {part.partition(";")[0].strip() for part in accept.lower().split(",")}
        registry: Any = Exposed(self.collected())
        if "application/openmetrics-text" in taken:
            text: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
            return text, openmetrics.CONTENT_TYPE_LATEST
        return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4

    def collected(self) -> list[Metric]:
        """Return all metrics as they are now."""
        return list(self.registry.collect())
