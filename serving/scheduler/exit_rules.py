"""Exit rules: the rows that leave at an exit, and those that start a stage.

Three rules: thresholds for each row, a sum of FLOPs for each request, and deadlines (docs/scheduler.md).
Legend of shapes: N rows, C classes, K exits, M rows of one request.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from serving.interfaces import ClassArray, FloatArray, Mask, ScoreArray
from serving.policy.confidence import Scorer
from serving.policy.group_path import GroupPath
from serving.scheduler.hooks import Decide
from serving.scheduler.request import Constraints, Row

Observe = Callable[[int, ScoreArray, ClassArray, Sequence[tuple[float, ...]]], None]
"""Told of the scores [N] at an exit, of the classes [N] it answers, and of the thresholds of the N rows."""


class ThresholdRule:
    """A row leaves where its score reaches the threshold that its own request brought along.

    Thresholds are frozen at admission and the score is the row's own, so requests with different budgets
    share a batch, and a row's exit never depends on the rows beside it.

    Args:
        scorer: scores rows as the thresholds expect it (`Calibration.scorer`).
        observe: called with the rows that were decided on; does not decide.
    """

    def __init__(self, scorer: Scorer, observe: Observe | None = None) -> None:
        self._scorer = scorer
        self._observe = observe

    def __call__(self, stage: int, rows: Sequence[Row], probabilities: FloatArray) -> Mask:
        """Say who leaves: bool [N], from probabilities [N, C]."""
        thresholds = [row.request.terms.thresholds for row in rows]
        scores = self._scorer(stage, probabilities)
        if self._observe is not None:
            counted = [index for index, row in enumerate(rows) if row.request.terms.kind != "shadow"]
            if len(counted) == len(rows):
                self._observe(stage, scores, probabilities.argmax(axis=1), thresholds)
            elif counted:
                classes = probabilities[counted].argmax(axis=1)
                self._observe(stage, scores[counted], classes, [thresholds[index] for index in counted])
        limits = np.fromiter((vector[stage] for vector in thresholds), np.float64, count=len(rows))
        return np.asarray(scores >= limits)


class HardBudgetRule:
    """Decides on all rows of one request at once, so that they keep to their sum.

    The path says who goes on. The rows come together (the request is submitted with a barrier), and what the
    request has spent is read off the exits that its other rows have left at: nothing is remembered between
    two decisions.

    Args:
        scorer: scores rows as the path expects it.
        path: who goes on.
        exit_flops: K costs of leaving at an exit, in FLOPs per image.
        allowed: reads off a request what its images may cost on average, in the same unit.
    """

    def __init__(
        self,
        scorer: Scorer,
        path: GroupPath,
        exit_flops: Sequence[int],
        allowed: Callable[[Constraints], float] = lambda terms: terms.budget_flops,
    ) -> None:
        self._scorer = scorer
        self._path = path
        self._exit_flops = tuple(exit_flops)
        self._allowed = allowed

    def __call__(self, stage: int, rows: Sequence[Row], probabilities: FloatArray) -> Mask:
        """Say who leaves: bool [M], from probabilities [M, C] of all rows of a request still there."""
        request = rows[0].request
        spent_flops = sum(self._exit_flops[exit_index] for exit_index in request.exits)
        flops_left = request.size * self._allowed(request.terms) - spent_flops
        return ~self._path.choose(stage, self._scorer(stage, probabilities), flops_left)


class RuleSwitch:
    """Asks one decider about rows that stand for themselves, another about requests as a whole.

    Args:
        rows: for rows of requests without a barrier.
        groups: for requests with one; the scheduler sends each on its own.
    """

    def __init__(self, rows: Decide, groups: Decide) -> None:
        self._rows = rows
        self._groups = groups

    def __call__(self, stage: int, rows: Sequence[Row], probabilities: FloatArray) -> Mask:
        """Say who leaves: bool [N], from probabilities [N, C]."""
        request = rows[0].request
        if request.history is not None:  # what every exit says is wanted: it goes to the last
            return nobody_leaves(stage, rows, probabilities)
        decide = self._groups if request.barrier else self._rows
        return decide(stage, rows, probabilities)


def nobody_leaves(stage: int, rows: Sequence[Row], probabilities: FloatArray) -> Mask:
    """Take every row to the last exit."""
    return np.zeros(len(rows), np.bool_)


class DeadlineRule:
    """A row starts a stage only if the stage is likely to be done in time; a `serving.scheduler.hooks.Start`.

    Args:
        seconds: how long a stage takes on so many rows (`CostModel.most_seconds`).
        clock: the scheduler's.
        doubt: called with the stage whenever none of the rows may start it (`CostModel.invalidate`).
    """

    def __init__(
        self,
        seconds: Callable[[int, int], float],
        clock: Callable[[], float],
        doubt: Callable[[int], None] = lambda stage: None,
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._doubt = doubt

    def __call__(self, stage: int, rows: Sequence[Row]) -> Mask:
        """Say who may start: bool [N]."""
        answer_at = np.fromiter((row.request.terms.answer_at for row in rows), np.float64, count=len(rows))
        if answer_at.min() == math.inf:
            return np.ones(len(rows), np.bool_)
        starts = np.asarray(answer_at >= self._clock() + self._seconds(stage, len(rows)))
        if not starts.any():
            self._doubt(stage)
        return starts
