"""Deciders say which rows leave at an exit; the scheduler asks and does not know why (contract 7).

Legend of shapes: N rows, C classes.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from serving.confidence import FloatArray, score
from serving.rows import Row


class BudgetDecider:
    """A row leaves where its score reaches the threshold that its own request brought along.

    Thresholds are frozen at admission and the score is the row's own, so requests with different budgets
    share a batch, and a row's exit never depends on the rows beside it.

    Args:
        measure: the confidence that the thresholds cut, a key of `serving.confidence.CONFIDENCE`.
    """

    def __init__(self, measure: str) -> None:
        self._measure = measure

    def __call__(self, stage: int, rows: Sequence[Row], probabilities: FloatArray) -> npt.NDArray[np.bool_]:
        """Say who leaves: bool [N], from probabilities [N, C]."""
        thresholds = np.fromiter(
            (row.request.terms.thresholds[stage] for row in rows), np.float64, count=len(rows)
        )
        leaves: npt.NDArray[np.bool_] = score(probabilities, self._measure) >= thresholds
        return leaves
