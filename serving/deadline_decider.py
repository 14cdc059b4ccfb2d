"""Keeps rows from stages that would not be done before their answer is due."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from serving.decisions import Mask
from serving.rows import Row


class DeadlineDecider:
    """A row starts a stage only if the stage is likely to be done in time; a `serving.decisions.Start`.

    Args:
        seconds: how long a stage takes on so many rows (`CostModel.most_seconds`).
        clock: the scheduler's.
        doubt: told the stage whenever none of the rows may start it (`CostModel.doubt`).
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
