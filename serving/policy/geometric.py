"""MSDNet's heuristic: geometric shares of the rows leave at the exits; it never looks at the answers.

Huang et al., *Multi-Scale Dense Networks for Resource Efficient Image Classification* (ICLR 2018), section 4,
"budgeted batch classification": a parameter q sets the share of rows that leaves at each exit, and
calibration rows turn the shares into thresholds. Deviations, which make it solvable for any budget and
monotone in the budget:

- q is not taken from a grid of 40 values: a table of thresholds over q in (0, infinity) is made once, and a
  budget is met on the line that joins its rows (`serving.policy.plan`).
- Exit k takes the share 1 / (q^0 + q^1 + ... + q^(K-1-k)) of the rows *still there*. That is the share q^k of
  all rows, but it does not pile up what rounding left behind onto the last exit.
- A threshold lies between two neighbouring scores, in proportion to the part of a row that is asked for.
- From q = 1, where all exits take the same share, a threshold may only fall as q falls and only rise as q
  rises. The plain thresholds wobble where few rows are left, so that a larger budget could send an image out
  earlier.

Pure numpy. Legend of shapes: N calibration rows, K exits, R rows of the table.
"""

import numpy as np
from jaxtyping import Float64, Int

from serving.policy.threshold_path import EVERYBODY_LEAVES, NOBODY_LEAVES, monotone_path

FIGURE_GRID = tuple(step / 20 for step in range(1, 41))
"""The values of q at which MSDNet's figures are drawn."""

_STEPS = 80  # on each side of q = 1


def geometric_thresholds(score: Float64[np.ndarray, "n k"], q: float) -> Float64[np.ndarray, " k"]:
    """MSDNet's thresholds at one q, before they are made monotone in q.

    Args:
        score: float64 [N, K], calibration scores.
        q: the ratio of the shares of neighbouring exits; under 1, most rows leave early.

    Returns:
        float64 [K], the last minus infinity.
    """
    return _cut(np.asfortranarray(score), np.argsort(-score, axis=0, kind="stable"), q)


def geometric_table(score: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, "r k"]:
    """Thresholds [R, K] that never fall from row to row: all leave, then q rises, then none leave.

    Beyond 1/N and N, q sends less than one row past the first exit, or lets less than one leave before the
    last: there is nothing left to tell apart.

    Args:
        score: float64 [N, K], calibration scores.
    """
    score = np.asfortranarray(score)  # read column by column
    ranking = np.argsort(-score, axis=0, kind="stable")
    reach = np.log(max(len(score), 2))
    ratios = np.exp(np.linspace(-reach, reach, 2 * _STEPS + 1))
    table = np.stack([_cut(score, ranking, q) for q in ratios])
    return monotone_path(table, middle=_STEPS)


def _cut(
    score: Float64[np.ndarray, "n k"], ranking: Int[np.ndarray, "n k"], q: float
) -> Float64[np.ndarray, " k"]:
    """The plain thresholds [K] at one q; `ranking` sorts each column of the scores from high to low."""
    rows, exits = score.shape
    thresholds = np.full(exits, -np.inf)
    stays = np.ones(rows, np.bool_)
    for exit_index in range(exits - 1):
        order = ranking[:, exit_index]
        still_there = order[stays[order]]
        share = 1 / sum(q**step for step in range(exits - exit_index))
        thresholds[exit_index] = _boundary(score[still_there, exit_index], share * len(still_there))
        stays &= score[:, exit_index] < thresholds[exit_index]
    return thresholds


def _boundary(descending: Float64[np.ndarray, " m"], count: float) -> float:
    """The threshold that `count` of the scores reach: its whole part exactly, its fraction by interpolation.

    Args:
        descending: float64 [M], sorted from high to low.
        count: how many are to reach it, within [0, M].
    """
    if not len(descending):
        return EVERYBODY_LEAVES
    whole = min(int(count), len(descending))
    above = descending[whole - 1] if whole else NOBODY_LEAVES
    below = descending[whole] if whole < len(descending) else EVERYBODY_LEAVES
    return float(above + (count - whole) * (below - above))
