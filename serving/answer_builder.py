"""Turns the probabilities of rows that have left into answers; shows the last exit to the drift monitor."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from serving.answer import Answer, ExitReport
from serving.interfaces import ClassArray, FloatArray, ScoreArray, Thresholds
from serving.policy.confidence import Scorer, max_probability
from serving.scheduler.request import Constraints, ExitAnswer
from serving.scheduler.resolver import FinishedRequest

Observe = Callable[[int, ScoreArray, ClassArray, Sequence[Thresholds]], None]
"""Told of the scores [N] at an exit, of the classes [N] it answers, and of the thresholds of the N rows."""


class AnswerBuilder:
    """Makes the answers of requests whose rows have all left; called like a function.

    Args:
        model: its name.
        classes: class names, by index.
        exit_flops: the cost of leaving at each exit, in FLOPs per image.
        scorer: scores rows as the thresholds expect it.
        clock: seconds from any origin; says whether deadlines were met.
        observe: called with the rows that left at the last exit, where no exit rule is asked.
        straight_is_calibrated: whether scores of rows that went through all stages in one run are comparable
            with the calibration's.
    """

    def __init__(
        self,
        model: str,
        classes: Sequence[str],
        exit_flops: Sequence[int],
        *,
        scorer: Scorer,
        clock: Callable[[], float],
        observe: Observe,
        straight_is_calibrated: bool,
    ) -> None:
        self._model, self._classes, self._exit_flops = model, classes, exit_flops
        self._scorer, self._clock, self._observe = scorer, clock, observe
        self._straight_is_calibrated = straight_is_calibrated

    def __call__(self, requests: Sequence[FinishedRequest]) -> list[list[Answer]]:
        """Return the answers of each request, one per image."""
        probabilities = np.concatenate([request.probabilities for request in requests])
        self._observe_last(requests, probabilities)
        rows = iter(probabilities)
        likeliest = iter(probabilities.argmax(axis=1).tolist())
        confidences = iter(max_probability(probabilities).tolist())
        now = self._clock()
        results = []
        for terms, exits, _, history in requests:
            met = None if terms.deadline_at == math.inf else now <= terms.deadline_at
            answers = []
            for exit_index in exits:
                class_index, row = next(likeliest), next(rows)
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
                        # A copy: a row alone must not keep the whole batch.
                        probabilities=row.copy() if terms.probabilities else None,
                        budget_share=terms.budget_share,
                        budget_seconds=None if terms.time is None else terms.time.seconds,
                        seconds=None if terms.time is None else terms.time.exit_seconds[exit_index],
                    )
                )
            if history is not None:
                answers = [self._explained(answers[0], terms, history)]
            results.append(answers)
        return results

    def _explained(self, last: Answer, terms: Constraints, history: Mapping[int, ExitAnswer]) -> Answer:
        """Put the answer of the exit that thresholds choose in place of the last one's, with all of them."""
        reports, rows = [], []
        for exit_index, (_, batch, index) in sorted(history.items()):
            row = batch[index : index + 1]
            class_index, threshold = int(row.argmax()), terms.thresholds[exit_index]
            score = float(self._scorer(exit_index, row)[0])
            is_last = exit_index == len(self._exit_flops) - 1
            rows.append(row[0])
            reports.append(
                ExitReport(
                    exit=exit_index + 1,
                    class_name=self._classes[class_index],
                    class_index=class_index,
                    confidence=float(max_probability(row)[0]),
                    score=score,
                    threshold=None if is_last else threshold,
                    leaves=is_last or score >= threshold,
                    flops=self._exit_flops[exit_index],
                )
            )
        row, taken = next((row, report) for row, report in zip(rows, reports, strict=True) if report.leaves)
        return replace(
            last,
            class_name=taken.class_name,
            class_index=taken.class_index,
            confidence=taken.confidence,
            exit=taken.exit,
            flops=taken.flops,
            seconds=None if terms.time is None else terms.time.exit_seconds[taken.exit - 1],
            probabilities=row.copy() if terms.probabilities else None,
            exits=tuple(reports),
        )

    def _observe_last(self, requests: Sequence[FinishedRequest], probabilities: FloatArray) -> None:
        last, place = len(self._exit_flops) - 1, 0
        there: list[int] = []
        thresholds: list[Thresholds] = []
        for terms, exits, *_ in requests:
            comparable = self._straight_is_calibrated or terms.next_exits[:1] < (last,)
            if terms.thresholds and terms.kind not in ("explain", "shadow") and comparable and last in exits:
                found = [place + index for index, exit_index in enumerate(exits) if exit_index == last]
                there += found
                thresholds += [terms.thresholds] * len(found)
            place += len(exits)
        if there:
            rows = probabilities[there]
            self._observe(last, self._scorer(last, rows), rows.argmax(axis=1), thresholds)
