"""The hooks of the scheduler: the running of a stage, and the two questions to an exit rule."""

from collections.abc import Callable, Sequence

import numpy as np

from serving.errors import EngineError
from serving.interfaces import FloatArray, Mask
from serving.scheduler.request import Row

Decide = Callable[[int, Sequence[Row], FloatArray], Mask]
"""(stage, N rows, their probabilities [N, C]) -> bool [N], who leaves; not asked at the last stage."""

Start = Callable[[int, Sequence[Row]], Mask]
"""(stage, N > 0 rows about to run it together) -> bool [N], who may; the rest leave with what they have, so
they must be of requests with a deadline: of others no answer is kept on the way."""


def everybody_starts(stage: int, rows: Sequence[Row]) -> Mask:
    """Keep no row from a stage."""
    return np.ones(len(rows), np.bool_)


def checked(decision: Mask, rows: int) -> Mask:
    """Return a decision on so many rows as it is.

    Raises:
        EngineError: it is not bool [rows].
    """
    if decision.dtype != np.bool_ or decision.shape != (rows,):
        raise EngineError(f"expected a decision bool [{rows}], found {decision.dtype} {list(decision.shape)}")
    return decision
