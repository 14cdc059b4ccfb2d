"""Deciders say which rows leave at an exit; the scheduler asks and does not know why (contract 7).

Legend of shapes: N rows, C classes.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from serving.confidence import FloatArray, Scorer
from serving.rows import Row


class BudgetDecider:
    """A row leaves where its score reaches the threshold that its own request brought along.

    Thresholds are frozen at admission and the score is the row's own, so requests with different budgets
    share a batch, and a row's exit never depends on the rows beside it.

    Args:
        scorer: scores rows as the thresholds expect it (`Calibration.scorer`).
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def __call__(self, stage: int, rows: Sequence[Row], probabilities: FloatArray) -> npt.NDArray[np.bool_]:
        """Say who leaves: bool [N], from probabilities [N, C]."""
        thresholds = np.fromiter(
            (row.request.terms.thresholds[stage] for row in rows), np.float64, count=len(rows)
        )
        leaves: npt.NDArray[np.bool_] = self._scorer(stage, probabilities) >= thresholds
        return leaves
