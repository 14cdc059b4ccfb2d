"""Paths of thresholds: tables of threshold vectors that never fall from one row to the next.

Legend of shapes: N calibration rows, K exits, R rows of the table.
"""

import numpy as np
from jaxtyping import Bool, Float64, Num

from serving.policy.confidence import TIE

NOBODY_LEAVES = 1 + 16 * TIE
"""A threshold above every score."""
EVERYBODY_LEAVES = -16 * TIE
"""A threshold below every score; finite, unlike the last exit's, so that one can interpolate towards it."""


def interpolate_path(
    score: Float64[np.ndarray, "n k"],
    table: Float64[np.ndarray, "r k"],
    value: Num[np.ndarray, "n k"] | Bool[np.ndarray, "n k"],
) -> Float64[np.ndarray, " r"]:
    """The sum over rows of what each gets at the exit it takes, under every threshold vector of a table.

    Since thresholds never fall, exit k lets a row out in the first so many vectors of the table, and what the
    row gets there counts from where the exits before stop letting it out: two additions per row and exit, and
    one running sum, instead of a pass over all rows for each vector.

    Args:
        score: float64 [N, K].
        table: float64 [R, K] that never falls from row to row; the last column is not read.
        value: [N, K], what a row gets at an exit, such as its cost; whole numbers are summed exactly.

    Returns:
        float64 [R].
    """
    changes = np.zeros(len(table) + 1)
    start = np.zeros(len(score), np.intp)
    for exit_index in range(score.shape[1]):
        if exit_index == score.shape[1] - 1:
            stop = np.full(len(score), len(table))
        else:
            stop = np.searchsorted(table[:, exit_index], score[:, exit_index], side="right")
        reached = np.flatnonzero(stop > start)
        gain = value[reached, exit_index].astype(np.float64)
        changes += np.bincount(start[reached], gain, len(changes))
        changes -= np.bincount(stop[reached], gain, len(changes))
        start = np.maximum(start, stop)
    return np.cumsum(changes[:-1])


def monotone_path(table: Float64[np.ndarray, "r k"], middle: int) -> Float64[np.ndarray, "r+2 k"]:
    """Make a path of threshold vectors [R, K] that were found one by one, from cheap to dear.

    From the middle row outwards a threshold may only rise with the cost and only fall with it, whatever
    wobbles where few rows are left; and the ends are put on: all leave at once, none leave early.

    Args:
        table: float64 [R, K].
        middle: the row that stays as it is.

    Returns:
        float64 [R + 2, K], with the two ends.
    """
    first, last = np.full((2, table.shape[1]), [[EVERYBODY_LEAVES], [NOBODY_LEAVES]])
    cheaper = np.minimum.accumulate(table[middle::-1])[::-1]
    dearer = np.maximum.accumulate(table[middle:])
    path = np.vstack([first, cheaper[:-1], dearer, last])
    path[:, -1] = -np.inf
    return path


def refine_path(table: Float64[np.ndarray, "r k"], steps: int) -> Float64[np.ndarray, "(r-1)*{steps}+1 k"]:
    """Put points of the straight lines between the rows of a table [R, K]: [(R - 1) * steps + 1, K]."""
    near, far = table[:-1, None, :-1], table[1:, None, :-1]
    weight = np.arange(steps)[:, None] / steps
    finer = np.full(((len(table) - 1) * steps + 1, table.shape[1]), -np.inf)
    finer[:-1, :-1] = (near + weight * (far - near)).reshape(len(finer) - 1, table.shape[1] - 1)
    finer[-1] = table[-1]
    return np.maximum.accumulate(finer)  # rounding may have passed the far end
