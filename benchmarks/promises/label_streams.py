"""The alarm on labelled accuracy, on many streams at once."""

import math

import numpy as np
import numpy.typing as npt

from serving.monitoring.accuracy import STAKES


def alarms(right: npt.NDArray[np.bool_], expected: float, delta: float) -> npt.NDArray[np.int64]:
    """Run `serving.monitoring.accuracy.AccuracyAlarm` on many streams at once.

    Args:
        right: bool [S, N], N labels of S streams.
        expected: the accuracy that is promised.
        delta: of the alarm.

    Returns:
        int64 [S], the index of the label that raises the alarm of each stream; -1 where none does.
    """
    numbers = np.arange(1, right.shape[1] + 1, dtype=np.float64)
    laid = -np.log(numbers * (numbers + 1))
    evidence = np.full(right.shape, -np.inf)
    for stake in STAKES:
        # log sum over starts j of w_j times the product of factors from j on: by sums from the first label.
        wrong, good = math.log1p(stake * expected / (1 - expected)), math.log1p(-stake)
        factors = wrong + (good - wrong) * right
        grown = factors.cumsum(axis=1)
        before = np.concatenate([np.zeros((len(right), 1)), grown[:, :-1]], axis=1)
        started = np.logaddexp.accumulate(laid - before, axis=1)
        evidence = np.logaddexp(evidence, grown + started)
    raised = evidence - np.log(len(STAKES)) >= -np.log(delta)
    return np.where(raised.any(axis=1), raised.argmax(axis=1), -1).astype(np.int64)
