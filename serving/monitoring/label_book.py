"""Labels that are sent back: accuracy exit by exit, an alarm, and the guarantee on the traffic of today."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from structlog.typing import FilteringBoundLogger

from serving.errors import UnknownRequestError
from serving.events import AccuracyMeasured, AnswerLabelled, Listener
from serving.monitoring.accuracy import AccuracyAlarm, Certification, TrafficCertificate
from serving.monitoring.agreement import lower_end
from serving.monitoring.label_store import LabelStore, NotedAnswer
from serving.policy.risk import share_interval

Expected = Callable[[float | None, float | None], tuple[float, int] | None]
"""(budget in FLOPs, max_drop) of a request -> the accuracy that the calibration promises, and the number of
images that it rests on; None where it promises none."""


@dataclass(frozen=True, slots=True)
class Label:
    """The true class of an image: the server's id of its request, its place in it, the class's index."""

    request: str
    image: int
    class_index: int


Labelled = Callable[[str, Sequence[Label]], None]
"""Told of a bundle, by its identity, and of labels for its answers."""


@dataclass(frozen=True, slots=True)
class TakenLabels:
    """What became of labels.

    Attributes:
        new: images that had none.
        same: images that had the same one.
        contradicting: images that had another one; the last stands.
        certifying: new ones of the random sample, which certificates rest on.
        unknown: labels for images that are not known.
    """

    new: int = 0
    same: int = 0
    contradicting: int = 0
    certifying: int = 0
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class ExitAccuracy:
    """Labelled answers of an exit, the right ones, and Wilson's interval (95%) of their share."""

    labelled: int
    right: int
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class AccuracySummary:
    """What labels say of a model.

    Attributes:
        exits: by the exit's number, from 1; only exits that have labelled answers.
        alarm: whether accuracy has fallen.
        evidence: of a fall; from 1 / delta on it is an alarm.
        delta: the chance that a false alarm is ever raised, and that a certificate does not hold.
        contradictions: labels that contradicted one before.
        certificate: of the traffic as it is served; None before there are enough labels.
        sampled: labelled images of the random sample, since the series of certificates began.
        lost: of these, answers that leaving early lost.
    """

    exits: Mapping[int, ExitAccuracy]
    alarm: bool
    evidence: float
    delta: float
    contradictions: int
    certificate: TrafficCertificate | None
    sampled: int
    lost: int


class _Monitor:
    """What is known of one bundle."""

    def __init__(self, alarm_delta: float, guarantee_delta: float) -> None:
        self.alarm, self.certification = AccuracyAlarm(alarm_delta), Certification(guarantee_delta)
        self.contradictions = 0

    def state(self) -> dict[str, Any]:
        return {
            "alarm": self.alarm.state(),
            "certification": self.certification.state(),
            "contradictions": self.contradictions,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.alarm.restore(state["alarm"])
        self.certification.restore(state["certification"])
        self.contradictions = int(state["contradictions"])


class LabelBook:
    """Takes labels for answers that are kept; safe from any thread.

    Args:
        store: keeps answers, labels and what is known.
        alarm_delta: the chance that a false alarm is ever raised, for each bundle.
        guarantee_delta: the chance that a certificate of a series does not hold.
        emit: gets `AnswerLabelled` and `AccuracyMeasured`.
        logger: told of a state that cannot be used.
        labelled: told of a bundle's labels that were taken.
    """

    def __init__(
        self,
        store: LabelStore,
        *,
        alarm_delta: float,
        guarantee_delta: float,
        emit: Listener,
        logger: FilteringBoundLogger,
        labelled: Labelled = lambda bundle, labels: None,
    ) -> None:
        self.store = store
        self._labelled = labelled
        self._alarm_delta, self._guarantee_delta = alarm_delta, guarantee_delta
        self._emit, self._logger = emit, logger
        self._lock = threading.Lock()
        self._monitors: dict[str, _Monitor] = {}

    def take(
        self,
        model: str,
        bundle: str,
        labels: Sequence[Label],
        expected: Expected,
        *,
        skip_unknown: bool = False,
    ) -> TakenLabels:
        """Take labels, all or, where one cannot be taken, none.

        Args:
            model: its name.
            bundle: its identity.
            labels: for its answers.
            expected: what its calibration promises.
            skip_unknown: leave out labels for answers that are not kept, in place of refusing all.

        Raises:
            UnknownRequestError: there is no answer to one of them, or it is not kept any more.
        """
        counts, known = Counter[str](), list[Label]()
        events: list[AnswerLabelled | AccuracyMeasured] = []
        with self._lock:
            monitor = self._monitor(bundle)
            before = monitor.state()
            try:
                with self.store.transaction():
                    for place, label in enumerate(labels):
                        answer = self.store.find(bundle, label.request, label.image)
                        if answer is None and not skip_unknown:
                            raise UnknownRequestError(
                                f"labels[{place}]: no answer of model {model!r} to image {label.image} of "
                                f"request {label.request[:60]!r} is kept; on_unknown=skip leaves such out"
                            )
                        if answer is None:
                            counts["unknown"] += 1
                            continue
                        known.append(label)
                        if answer.label == label.class_index:
                            counts["same"] += 1
                        elif answer.label is None:
                            self.store.set_label(label.request, label.image, label.class_index)
                            counts["new"] += 1
                            counts["certifying"] += answer.final is not None
                            events += _add(model, monitor, answer, label.class_index, expected)
                        else:
                            self.store.set_label(label.request, label.image, label.class_index)
                            counts["contradicting"] += 1
                            _correct(monitor, answer, label.class_index)
                    self.store.set_state(bundle, monitor.state())
            except BaseException:
                monitor.restore(before)
                raise
        for event in events:
            self._emit(event)
        if known:
            self._labelled(bundle, known)
        return TakenLabels(**counts)

    def summary(self, bundle: str) -> AccuracySummary:
        """Sum up what labels say of a bundle."""
        by_exit = self.store.by_exit(bundle)
        with self._lock:
            monitor = self._monitor(bundle)
            return AccuracySummary(
                exits={
                    number: ExitAccuracy(labelled, right, share_interval(right, labelled))
                    for number, (labelled, right) in sorted(by_exit.items())
                },
                alarm=monitor.alarm.raised,
                evidence=monitor.alarm.evidence,
                delta=self._alarm_delta,
                contradictions=monitor.contradictions,
                certificate=monitor.certification.latest,
                sampled=monitor.certification.images,
                lost=monitor.certification.lost,
            )

    def close(self) -> None:
        """Write all down."""
        self.store.close()

    def _monitor(self, bundle: str) -> _Monitor:
        if bundle not in self._monitors:
            monitor = _Monitor(self._alarm_delta, self._guarantee_delta)
            try:
                if (state := self.store.state(bundle)) is not None:
                    monitor.restore(state)
            except (KeyError, TypeError, ValueError) as error:
                self._logger.warning("labels_unusable", bundle=bundle, reason=repr(error))
                monitor = _Monitor(self._alarm_delta, self._guarantee_delta)
            self._monitors[bundle] = monitor
        return self._monitors[bundle]


def _add(
    model: str, monitor: _Monitor, answer: NotedAnswer, class_index: int, expected: Expected
) -> list[AnswerLabelled | AccuracyMeasured]:
    """Take in a new label, and return what is to be told."""
    right = answer.class_index == class_index
    events: list[AnswerLabelled | AccuracyMeasured] = [AnswerLabelled(model, answer.exit - 1, right)]
    if not answer.is_promised:
        return events
    if answer.final is not None:
        monitor.certification.add(_lost(answer, class_index))
    promised = expected(answer.budget_flops, answer.max_drop)
    changed = promised is not None and monitor.alarm.add(right, lower_end(*promised))
    if changed and monitor.alarm.raised:
        monitor.certification.restart()
    latest = monitor.certification.latest
    bound = None if latest is None else latest.bound
    events.append(AccuracyMeasured(model, monitor.alarm.raised, changed, bound))
    return events


def _correct(monitor: _Monitor, answer: NotedAnswer, class_index: int) -> None:
    """Count an answer differently whose label was another one."""
    monitor.contradictions += 1
    if answer.is_promised and answer.final is not None and answer.label is not None:
        monitor.certification.correct(_lost(answer, answer.label), _lost(answer, class_index))


def _lost(answer: NotedAnswer, label: int) -> bool:
    """Whether leaving early lost an answer: right at full depth, wrong where the image left."""
    return answer.final == label != answer.class_index
