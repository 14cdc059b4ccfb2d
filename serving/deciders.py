"""Deciders say which rows leave at an exit; the scheduler asks and does not know why (docs/scheduler.md).

Legend of shapes: N rows, C classes.
"""

from collections.abc import Callable, Sequence

import numpy as np

from serving.confidence import FloatArray, ScoreArray, Scorer
from serving.decisions import Decide, Mask
from serving.drift import ClassArray
from serving.rows import Row

Observe = Callable[[int, ScoreArray, ClassArray, Sequence[tuple[float, ...]]], None]
"""Told of the scores [N] at an exit, of the classes [N] it answers, and of the thresholds of the N rows."""


class BudgetDecider:
    """A row leaves where its score reaches the threshold that its own request brought along.

    Thresholds are frozen at admission and the score is the row's own, so requests with different budgets
    share a batch, and a row's exit never depends on the rows beside it.

    Args:
        scorer: scores rows as the thresholds expect it (`Calibration.scorer`).
        observe: told of what was decided on; has no say.
    """

    def __init__(self, scorer: Scorer, observe: Observe | None = None) -> None:
        self._scorer = scorer
        self._observe = observe

    def __call__(self, stage: int, rows: Sequence[Row], probabilities: FloatArray) -> Mask:
        """Say who leaves: bool [N], from probabilities [N, C]."""
        thresholds = [row.request.terms.thresholds for row in rows]
        scores = self._scorer(stage, probabilities)
        if self._observe is not None:
            self._observe(stage, scores, probabilities.argmax(axis=1), thresholds)
        limits = np.fromiter((vector[stage] for vector in thresholds), np.float64, count=len(rows))
        return np.asarray(scores >= limits)


class RowsOrGroups:
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
        decide = self._groups if rows[0].request.barrier else self._rows
        return decide(stage, rows, probabilities)


def nobody_leaves(stage: int, rows: Sequence[Row], probabilities: FloatArray) -> Mask:
    """Take every row to the last exit."""
    return np.zeros(len(rows), np.bool_)
