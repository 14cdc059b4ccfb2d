"""What the scheduler is given: how a stage runs, and the two questions that it asks of deciders."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from serving.confidence import FloatArray
from serving.errors import EngineError
from serving.rows import Row, Tensors

Run = Callable[[int, Tensors], tuple[FloatArray, Tensors]]
"""(stage, inputs, each [N, ...]) -> probabilities float32 [N, C], features; new arrays, not views."""
WaitingFeatures = Callable[[int], Sequence[Tensors]]
"""(stage from 1) -> the features that wait for it, as `run` returned them; `run` may change them in place."""


class MakeRun(Protocol):
    """Makes the `run` of one scheduler, whose waiting features it can look up."""

    def __call__(self, waiting: WaitingFeatures, *, max_batch: int) -> Run:
        """Make one for batches of up to `max_batch` rows."""


Mask = npt.NDArray[np.bool_]
Decide = Callable[[int, Sequence[Row], FloatArray], Mask]
"""(stage, N rows, their probabilities [N, C]) -> bool [N], who leaves; not asked at the last stage."""
Start = Callable[[int, Sequence[Row]], Mask]
"""(stage, N > 0 rows about to run it together) -> bool [N], who may; the rest leave with what they have, so
they must be of requests with a deadline: of others no answer is kept on the way."""


def everybody_starts(stage: int, rows: Sequence[Row]) -> Mask:
    """Keep nobody from a stage."""
    return np.ones(len(rows), np.bool_)


def checked(decision: Mask, rows: int) -> Mask:
    """Return a decision on so many rows as it is.

    Raises:
        EngineError: it is not bool [rows].
    """
    if decision.dtype != np.bool_ or decision.shape != (rows,):
        raise EngineError(f"expected a decision bool [{rows}], found {decision.dtype} {list(decision.shape)}")
    return decision
