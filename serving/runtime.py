"""Puts the parts around one engine together: exit rules, schedulers, controller, monitors, worker."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

from serving.answer import Answer
from serving.answer_builder import AnswerBuilder
from serving.bundle import Bundle
from serving.engine.batch_limits import kept_rows, most_rows
from serving.events import BudgetCorrected, Listener, fan_out, shielded
from serving.interfaces import NO_FAST_PATHS, FastPaths, FloatArray, MakeRunStage, Mask, Tensors
from serving.monitoring.agreement import AgreementMonitor
from serving.monitoring.brownout import BrownOut
from serving.monitoring.controller import BudgetController
from serving.monitoring.drift import DriftMonitor
from serving.monitoring.health import Health
from serving.monitoring.reorder import ReorderBuffer
from serving.monitoring.shadow import ShadowEvaluator
from serving.options import ServingConfig
from serving.planner import Planner, nanoseconds
from serving.scheduler.cores import Cores, Turn
from serving.scheduler.cost import CostModel, exit_seconds
from serving.scheduler.dispatch import cost_aware, deadline_aware, deepest_full
from serving.scheduler.exit_rules import (
    DeadlineRule,
    HardBudgetRule,
    RuleSwitch,
    ThresholdRule,
    nobody_leaves,
)
from serving.scheduler.hooks import Decide
from serving.scheduler.request import Constraints, Request, Row
from serving.scheduler.scheduler import Scheduler
from serving.scheduler.worker import Worker

_IDLE_BATCH = 8  # a caller that comes while it runs waits for it
_IDLE_ROWS = 256
MAX_BATCH_BYTES = 64 * 2**20
_RULES = ServingConfig()


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """Options of a model's runtime, for any bundle.

    Attributes:
        rules: the default budget, and how promises are kept.
        max_queue_rows: how many images may wait before requests are refused.
        max_batch: the most images in one run of a stage.
        max_batch_bytes: the most bytes that go into a stage and come out of it in one run; it makes batches
            smaller where features are large.
        max_age_seconds: an image that waits longer for a deeper stage goes before new ones.
        clock: seconds from any origin, never going back.
        emit: gets the events of `serving.events`, from the worker's thread as a rule.
        cores: that the model computes on, in turns with the other models that were given them; None where
            there are none.
        threads: that it computes with; its turns take as many of the cores.
    """

    rules: ServingConfig = _RULES
    max_queue_rows: int = 1024
    max_batch: int = 32
    max_batch_bytes: int = MAX_BATCH_BYTES
    max_age_seconds: float = 0.05
    clock: Callable[[], float] = time.monotonic
    emit: Listener | None = None
    cores: Cores | None = None
    threads: int = 1


class Runtime:
    """All that a model is made of besides its bundle and its engine.

    Args:
        bundle: what is served.
        make_run: makes what runs its stages.
        options: how it runs.
        cost: how long stages take; learns from every batch.
        shortcuts: what can be run where heads are not needed.

    Raises:
        BudgetError, TermsError: a default of the rules cannot be used.
    """

    def __init__(
        self,
        bundle: Bundle,
        make_run: MakeRunStage,
        options: RuntimeOptions,
        *,
        cost: CostModel,
        shortcuts: FastPaths = NO_FAST_PATHS,
    ) -> None:
        rules, exit_flops = options.rules, bundle.manifest.exit_flops
        emit = shielded(options.emit)
        self._exit_flops = exit_flops
        self._cost = cost
        self.controller = BudgetController(bundle.name, exit_flops, emit=emit) if rules.controller else None
        self.brownout = (
            _brownout(bundle.name, options, lambda: served.waiting_rows) if rules.brownout else None
        )
        self.exit_seconds = exit_seconds(cost, len(exit_flops))
        self.time_controller = (
            BudgetController(bundle.name, nanoseconds(self.exit_seconds), of_time=True, emit=emit)
            if rules.controller and self.exit_seconds
            else None
        )
        self.offers = Planner(
            bundle,
            rules,
            self.controller,
            self.brownout,
            exit_seconds=self.exit_seconds,
            time_controller=self.time_controller,
        )
        self._agreement, self._drift = _monitors(bundle, rules, emit)
        largest = most_rows(bundle.manifest.segments, options.max_batch, options.max_batch_bytes)
        largest.append(_whole_rows(cost, largest))
        self._loops = [loop for loop in (self.controller, self.time_controller) if loop is not None]
        learners: list[Listener] = [cost, *([ReorderBuffer(fan_out(*self._loops))] if self._loops else [])]
        share = None if options.cores is None else options.cores.share(options.threads)
        served = _scheduler(
            bundle,
            make_run,
            options,
            largest=largest,
            cost=cost,
            groups=_hard_budgets(bundle, self.offers),
            drift=self._drift,
            emit=fan_out(*learners, emit),
            shortcuts=shortcuts,
            turn=share,
        )
        idle = _idle_scheduler(bundle, make_run, options, largest=largest, shortcuts=shortcuts)
        self.worker = Worker(served, name=bundle.name, emit=emit, idle=idle, share=share)
        self.watcher = ShadowEvaluator(
            bundle.name,
            exit_flops,
            share=rules.sample_share,
            seed=rules.sample_seed,
            # Not a method: what holds itself keeps its sessions until the next search for garbage.
            submit=partial(_submit_idle, idle, self.worker, exit_flops),
            emit=emit,
            observe=self._agreement.observe,
        )

    def health(self) -> Health:
        """The health of all parts."""
        return Health(
            alive=self.worker.alive,
            corrections=None if self.controller is None else self._corrections(),
            drift=self._drift.latest(),
            agreement=self.watcher.agreement(),
            agreement_of_late=self._agreement.latest(),
            unchecked=self.watcher.missed,
        )

    def _corrections(self) -> dict[str, BudgetCorrected]:
        return {label: found for loop in self._loops for label, found in loop.corrections().items()}

    def image_seconds(self) -> tuple[float, ...]:
        """Seconds of each stage for an image, in batches of the cheapest size; 0 where it never ran."""
        return tuple(self._cost.expected(stage).row_seconds for stage in range(len(self._exit_flops)))


def _hard_budgets(bundle: Bundle, planner: Planner) -> Decide:
    """The rule of requests whose images share a sum: of FLOPs, or of nominal time."""
    scorer, exit_flops = bundle.scorer, bundle.manifest.exit_flops
    by_flops = HardBudgetRule(scorer, planner.group_path(), exit_flops)

    @cache
    def in_time() -> HardBudgetRule:
        return HardBudgetRule(
            scorer,
            planner.time_group_path,
            planner.exit_nanoseconds,
            allowed=lambda terms: 1e9 * terms.time.seconds if terms.time else terms.budget_flops,
        )

    def decide(stage: int, rows: Sequence[Row], probabilities: FloatArray) -> Mask:
        rule = by_flops if rows[0].request.terms.time is None else in_time()
        return rule(stage, rows, probabilities)

    return decide


def _submit_idle(
    idle: Scheduler[Sequence[int]],
    worker: Worker[list[Answer]],
    exit_flops: Sequence[int],
    inputs: Tensors,
) -> Request[Sequence[int]]:
    """Send images to the last exit when a worker has nothing else to do."""
    last = len(exit_flops) - 1
    terms = Constraints(float(exit_flops[-1]), (), next_exits=(last,) * (last + 1))
    request = idle.submit(inputs, terms)
    worker.wake()
    return request


def _brownout(model: str, options: RuntimeOptions, waiting: Callable[[], int]) -> BrownOut:
    """What lowers budgets while too much waits."""
    return BrownOut(
        model,
        waiting=waiting,
        mark=options.rules.brownout_queue_share * options.max_queue_rows,
        floor=options.rules.brownout_floor,
        clock=options.clock,
        emit=shielded(options.emit),
    )


def _monitors(bundle: Bundle, rules: ServingConfig, emit: Listener) -> tuple[AgreementMonitor, DriftMonitor]:
    """The reference of answers: the calibration's agreement with the last exit, scores and classes."""
    calibration, manifest = bundle.calibration, bundle.manifest
    scores, predicted = calibration.score(manifest.calibration.confidence), calibration.prediction
    agreement = AgreementMonitor(bundle.name, scores, predicted, emit)
    drift = DriftMonitor(
        bundle.name,
        scores,
        predicted,
        len(manifest.classes),
        emit=emit,
        window_rows=rules.drift_window_rows,
    )
    return agreement, drift


def _scheduler(
    bundle: Bundle,
    make_run: MakeRunStage,
    options: RuntimeOptions,
    *,
    largest: Sequence[int],
    cost: CostModel,
    groups: Decide,
    drift: DriftMonitor,
    emit: Listener,
    shortcuts: FastPaths,
    turn: Turn | None,
) -> Scheduler[list[Answer]]:
    """The scheduler of requests."""
    manifest, clock = bundle.manifest, options.clock
    kept = kept_rows(manifest.segments, options.max_batch, options.max_batch_bytes)

    def waiting(stage: int) -> Sequence[Tensors]:
        return scheduler.waiting_features(stage)

    scheduler: Scheduler[list[Answer]] = Scheduler(
        name=bundle.name,
        exit_flops=manifest.exit_flops,
        run=make_run(waiting, max_batch=max(largest)),
        decide=RuleSwitch(ThresholdRule(bundle.scorer, drift.observe), groups),
        answer=AnswerBuilder(
            bundle.name,
            manifest.classes,
            manifest.exit_flops,
            scorer=bundle.scorer,
            clock=clock,
            observe=drift.observe,
            straight_is_calibrated=shortcuts.whole_is_exact,
        ),
        capacity=options.max_queue_rows,
        start=DeadlineRule(cost.most_seconds, clock, cost.invalidate),
        dispatch=partial(
            deadline_aware,
            dispatch=partial(
                cost_aware,
                expected=cost.expected,
                most_rows=largest,
                max_age_seconds=options.max_age_seconds,
                entries=(0, len(manifest.exit_flops)),
            ),
            seconds=cost.most_seconds,
        ),
        clock=clock,
        emit=emit,
        keep_rows=[*kept, kept[0]],
        shortcuts=shortcuts,
        turn=turn,
    )
    return scheduler


def _idle_scheduler(
    bundle: Bundle,
    make_run: MakeRunStage,
    options: RuntimeOptions,
    *,
    largest: Sequence[int],
    shortcuts: FastPaths,
) -> Scheduler[Sequence[int]]:
    """The scheduler of what has time: every row goes to the last exit, and its classes are the answer."""
    manifest = bundle.manifest
    kept = kept_rows(manifest.segments, options.max_batch, options.max_batch_bytes)
    max_batch = min(_IDLE_BATCH, *largest)

    def waiting(stage: int) -> Sequence[Tensors]:
        return scheduler.waiting_features(stage)

    scheduler: Scheduler[Sequence[int]] = Scheduler(
        name=bundle.name,
        exit_flops=manifest.exit_flops,
        run=make_run(waiting, max_batch=max_batch),
        decide=nobody_leaves,
        answer=lambda requests: [request.probabilities.argmax(axis=1).tolist() for request in requests],
        capacity=_IDLE_ROWS,
        dispatch=partial(deepest_full, max_batch=max_batch, max_age_seconds=math.inf),
        clock=options.clock,
        keep_rows=[min(2 * _IDLE_BATCH, rows) for rows in kept],
        shortcuts=shortcuts.steps_only,
    )
    return scheduler


def _whole_rows(cost: CostModel, largest: Sequence[int]) -> int:
    """The largest batch of the whole net that takes no longer than the slowest full batch of a stage.

    A request that comes while it runs waits for it, as for any stage.
    """
    stages = len(largest)
    slowest = max(cost.expected(stage).seconds(rows) for stage, rows in enumerate(largest))
    rows = min(largest)
    while rows > 1 and cost.expected(stages).seconds(rows) > slowest:
        rows -= 1
    return rows
