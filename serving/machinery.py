"""Puts the parts around one engine together: deciders, schedulers, controller, watch, worker."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from serving.agreement import AgreementMonitor
from serving.answer import Answer
from serving.bundle import Bundle
from serving.confidence import FloatArray, max_probability
from serving.controller import BudgetController
from serving.cost import CostModel
from serving.deadline_decider import DeadlineDecider
from serving.deciders import BudgetDecider, RowsOrGroups, nobody_leaves
from serving.decisions import MakeRun
from serving.dispatch import deepest_full, in_time, worthwhile
from serving.drift import DriftMonitor
from serving.events import Listener
from serving.group_budget import GroupDecider
from serving.health import Health
from serving.listening import fan_out, shielded
from serving.memory import kept_rows, most_rows
from serving.offers import Offers, Rules
from serving.ordering import InOrder
from serving.resolver import Answered
from serving.rows import Request, Tensors, Terms
from serving.scheduler import Scheduler
from serving.shortcuts import NO_SHORTCUTS, Shortcuts
from serving.watcher import Watcher
from serving.worker import Worker

_IDLE_BATCH = 8  # a caller that comes while it runs waits for it
_IDLE_ROWS = 256


class Machinery:
    """All that a model is made of besides its bundle and its engine.

    Args:
        bundle: what is served.
        make_run: makes what runs its stages.
        cost: how long stages take; learns from every batch.
        rules: how promises are kept.
        max_queue_rows, max_batch, max_batch_bytes, max_age_seconds: see `Model`.
        clock: seconds from any origin, never going back.
        emit: gets every event.
        shortcuts: what can be run where heads are not needed.

    Raises:
        BudgetError, TermsError: a default of the rules cannot be used.
    """

    def __init__(
        self,
        bundle: Bundle,
        make_run: MakeRun,
        *,
        cost: CostModel,
        rules: Rules,
        max_queue_rows: int,
        max_batch: int,
        max_batch_bytes: int,
        max_age_seconds: float,
        clock: Callable[[], float],
        emit: Listener,
        shortcuts: Shortcuts = NO_SHORTCUTS,
    ) -> None:
        name, manifest, calibration = bundle.name, bundle.manifest, bundle.calibration
        exit_flops = manifest.exit_flops
        self._model, self._classes, self._exit_flops = name, manifest.classes, exit_flops
        self._clock, self._scorer = clock, bundle.scorer
        self._straight_tells = shortcuts.whole_is_exact  # another graph's scores are not the calibration's
        tell = shielded(emit)
        self.controller = BudgetController(name, exit_flops, emit=tell) if rules.controller else None
        self.offers = Offers(bundle, rules, self.controller)
        every_score, answer = calibration.score(manifest.calibration.confidence), calibration.prediction
        self._agreement = AgreementMonitor(name, every_score, answer, tell)
        self._drift = DriftMonitor(
            name,
            every_score,
            answer,
            len(manifest.classes),
            emit=tell,
            window_rows=rules.drift_window_rows,
        )
        largest = most_rows(manifest.segments, max_batch, max_batch_bytes)
        largest.append(_whole_rows(cost, largest))
        kept = kept_rows(manifest.segments, max_batch, max_batch_bytes)
        learners: list[Listener] = [cost, *([InOrder(self.controller)] if self.controller else [])]
        groups = GroupDecider(self._scorer, self.offers.group_path(), exit_flops)

        def served_waiting(stage: int) -> Sequence[Tensors]:
            return scheduler.waiting_features(stage)

        def idle_waiting(stage: int) -> Sequence[Tensors]:
            return self._idle.waiting_features(stage)

        scheduler: Scheduler[list[Answer]] = Scheduler(
            name=name,
            exit_flops=exit_flops,
            run=make_run(served_waiting, max_batch=max(largest)),
            decide=RowsOrGroups(BudgetDecider(self._scorer, self._drift.observe), groups),
            answer=self._answers,
            capacity=max_queue_rows,
            start=DeadlineDecider(cost.most_seconds, clock, cost.doubt),
            dispatch=partial(
                in_time,
                dispatch=partial(
                    worthwhile,
                    expected=cost.expected,
                    most_rows=largest,
                    max_age_seconds=max_age_seconds,
                    entries=(0, len(exit_flops)),
                ),
                seconds=cost.most_seconds,
            ),
            clock=clock,
            emit=fan_out(*learners, tell),
            keep_rows=[*kept, kept[0]],
            shortcuts=shortcuts,
        )
        idle_batch = min(_IDLE_BATCH, max_batch)
        self._idle: Scheduler[Sequence[int]] = Scheduler(
            name=name,
            exit_flops=exit_flops,
            run=make_run(idle_waiting, max_batch=idle_batch),
            decide=nobody_leaves,
            answer=lambda requests: [said.probabilities.argmax(axis=1).tolist() for said in requests],
            capacity=_IDLE_ROWS,
            dispatch=partial(deepest_full, max_batch=min(idle_batch, *largest), max_age_seconds=math.inf),
            clock=clock,
            keep_rows=[min(2 * _IDLE_BATCH, rows) for rows in kept],
            shortcuts=shortcuts.steps_only,
        )
        self.watcher = Watcher(
            name,
            exit_flops,
            share=rules.sample_share,
            seed=rules.sample_seed,
            submit=self._submit_idle,
            emit=tell,
            observe=self._agreement.observe,
        )
        self.worker = Worker(scheduler, name=name, emit=emit, idle=self._idle)

    def health(self) -> Health:
        """How all of it is doing."""
        return Health(
            alive=self.worker.alive,
            corrections=None if self.controller is None else self.controller.corrections(),
            drift=self._drift.latest(),
            agreement=self.watcher.agreement(),
            agreement_of_late=self._agreement.latest(),
            unchecked=self.watcher.missed,
        )

    def _submit_idle(self, inputs: Tensors) -> Request[Sequence[int]]:
        last = len(self._exit_flops) - 1
        terms = Terms(float(self._exit_flops[-1]), (), next_exits=(last,) * (last + 1))
        request = self._idle.submit(inputs, terms)
        self.worker.wake()
        return request

    def _answers(self, requests: Sequence[Answered]) -> list[list[Answer]]:
        probabilities = np.concatenate([request.probabilities for request in requests])
        self._observe_last(requests, probabilities)
        likeliest = iter(probabilities.argmax(axis=1).tolist())
        confidences = iter(max_probability(probabilities).tolist())
        now = self._clock()
        results = []
        for terms, exits, _ in requests:
            met = None if terms.deadline_at == math.inf else now <= terms.deadline_at
            answers = []
            for exit_index in exits:
                class_index = next(likeliest)
                answers.append(
                    Answer(
                        class_name=self._classes[class_index],
                        class_index=class_index,
                        confidence=next(confidences),
                        exit=exit_index + 1,
                        flops=self._exit_flops[exit_index],
                        budget_flops=terms.budget_flops,
                        model=self._model,
                        deadline_met=met,
                    )
                )
            results.append(answers)
        return results

    def _observe_last(self, requests: Sequence[Answered], probabilities: FloatArray) -> None:
        """Show the drift monitor the exit at which no decider is asked."""
        last, place = len(self._exit_flops) - 1, 0
        there, thresholds = [], []
        for terms, exits, _ in requests:
            tells = terms.thresholds and (self._straight_tells or terms.next_exits[0] < last)
            if tells and last in exits:
                found = [place + index for index, exit_index in enumerate(exits) if exit_index == last]
                there += found
                thresholds += [terms.thresholds] * len(found)
            place += len(exits)
        if there:
            said = probabilities[there]
            self._drift.observe(last, self._scorer(last, said), said.argmax(axis=1), thresholds)


def _whole_rows(cost: CostModel, largest: Sequence[int]) -> int:
    """The largest batch of the whole net that takes no longer than the slowest full batch of a stage.

    Whoever comes while it runs waits for it, as for any stage.
    """
    stages = len(largest)
    slowest = max(cost.expected(stage).seconds(rows) for stage, rows in enumerate(largest))
    rows = min(largest)
    while rows > 1 and cost.expected(stages).seconds(rows) > slowest:
        rows -= 1
    return rows
