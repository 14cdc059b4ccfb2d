"""Prometheus metrics of what is promised: corrections of budgets, agreement of early answers, drift.

Labels are bounded: a model's budget classes are 5% wide, from its cheapest exit to its full depth, and named
by their lower edge.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge

from serving.events import (
    AccuracyMeasured,
    AgreementMeasured,
    AnswerLabelled,
    BudgetCorrected,
    BudgetsLowered,
    DriftMeasured,
    Event,
    ExitShadowed,
    RequestDone,
)
from serving.options import PRIORITIES


class MonitoringMetrics:
    """Listens to the controller, the watcher and the drift monitor.

    Args:
        registry: where the metrics are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        by_class, by_exit = ("model", "budget_class"), ("model", "exit")
        self._correction = Gauge(
            "offramp_budget_correction_ratio",
            "Planned budget over asked budget.",
            by_class,
            registry=registry,
        )
        self._error = Gauge(
            "offramp_budget_error_ratio",
            "Mean FLOPs spent of late over FLOPs asked for, less 1.",
            by_class,
            registry=registry,
        )
        self._brownout = Gauge(
            "offramp_brownout_ratio",
            "The share of its budgets that a class of requests gets now; under 1 too much waits.",
            ("model", "priority"),
            registry=registry,
        )
        self._lowered = Counter(
            "offramp_brownout_images",
            "Images answered under a budget that was lowered while too much waited.",
            ("model",),
            registry=registry,
        )
        self._labelled = Counter(
            "offramp_labelled_images",
            "Answers whose true class was sent back.",
            by_exit,
            registry=registry,
        )
        self._right = Counter(
            "offramp_labelled_right_images", "Of these, the right ones.", by_exit, registry=registry
        )
        self._fallen = Gauge(
            "offramp_accuracy_alarm",
            "1 while labelled answers are less right than the calibration promises, else 0.",
            ("model",),
            registry=registry,
        )
        self._bound = Gauge(
            "offramp_lost_answers_bound_ratio",
            "The certified share of answers that leaving early loses at most, from labels.",
            ("model",),
            registry=registry,
        )
        self._watched = Counter(
            "offramp_watched_images",
            "Images that left at an exit and were run to the end in idle time.",
            by_exit,
            registry=registry,
        )
        self._agreed = Counter(
            "offramp_agreed_images",
            "Watched images of an exit on which the last exit agrees.",
            by_exit,
            registry=registry,
        )
        self._expected = Gauge(
            "offramp_agreement_expected_ratio",
            "Share of early answers that the last exit agreed with on the calibration.",
            by_exit,
            registry=registry,
        )
        self._low = Gauge(
            "offramp_agreement_alarm",
            "1 while the last exit shares fewer early answers than chance explains, else 0.",
            by_exit,
            registry=registry,
        )
        self._watch_flops = Counter(
            "offramp_watch_flops",
            "Nominal FLOPs spent on watching, explaining and shadows.",
            ("model",),
            registry=registry,
        )
        self._drift = Gauge(
            "offramp_drift_score_ratio",
            "Population stability index of the answers of late against the calibration's.",
            by_exit,
            registry=registry,
        )
        self._limit = Gauge(
            "offramp_drift_limit_ratio",
            "The drift score over which it is an alarm.",
            by_exit,
            registry=registry,
        )
        self._alarm = Gauge(
            "offramp_drift_alarm",
            "1 while the answers of late are an alarm, else 0.",
            by_exit,
            registry=registry,
        )

    def __call__(self, event: Event) -> None:
        """Take in one event; called from any thread."""
        match event:
            case BudgetCorrected(model, budget_class, factor, error):
                self._correction.labels(model, budget_class).set(factor)
                self._error.labels(model, budget_class).set(error)
            case BudgetsLowered(model, priority, share):
                self._brownout.labels(model, priority).set(share)
            case AnswerLabelled(model, exit_index, right):
                labels = (model, str(exit_index + 1))
                self._labelled.labels(*labels).inc()
                self._right.labels(*labels).inc(right)
            case AccuracyMeasured(model, alarm, bound=bound):
                self._fallen.labels(model).set(alarm)
                if bound is not None:
                    self._bound.labels(model).set(bound)
            case ExitShadowed(model, exit_index, agreed, extra_flops):
                labels = (model, str(exit_index + 1))
                self._watched.labels(*labels).inc()
                self._agreed.labels(*labels).inc(agreed)
                self._watch_flops.labels(model).inc(extra_flops)
            case RequestDone(model, flops=flops, kind="explain" | "shadow"):
                self._watch_flops.labels(model).inc(sum(flops))
            case AgreementMeasured(model, exit_index, expected=expected, alarm=alarm):
                labels = (model, str(exit_index + 1))
                self._expected.labels(*labels).set(expected)
                self._low.labels(*labels).set(alarm)
            case DriftMeasured(model, exit_index, score=score, limit=limit, alarm=alarm):
                labels = (model, str(exit_index + 1))
                self._drift.labels(*labels).set(score)
                self._limit.labels(*labels).set(limit)
                self._alarm.labels(*labels).set(alarm)

    def lowered(self, model: str, images: int) -> None:
        """Count images that were answered under a lowered budget."""
        self._lowered.labels(model).inc(images)

    def loaded(self, model: str, exits: int) -> None:
        """Declare a model, so that its counters start at 0."""
        self._lowered.labels(model)
        self._fallen.labels(model).set(0)
        for priority in PRIORITIES:
            self._brownout.labels(model, priority).set(1)
        self._watch_flops.labels(model)
        for number in range(1, exits + 1):
            labels = (model, str(number))
            self._alarm.labels(*labels).set(0)
            self._labelled.labels(*labels)
            self._right.labels(*labels)
            if number < exits:  # the last exit is never early
                self._watched.labels(*labels)
                self._agreed.labels(*labels)
                self._low.labels(*labels).set(0)

    def forget(self, model: str) -> None:
        """Show no state of a model that is gone."""
        for metric in vars(self).values():
            if isinstance(metric, Gauge):  # counters keep what was counted
                metric.remove_by_labels({"model": model})
