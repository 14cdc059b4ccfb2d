"""Thresholds searched on calibration rows: the geometric ones are the start, what the rows got right decides.

For each of a list of costs, from cheap to dear, the search begins at the geometric thresholds of that cost
and looks for better ones near it: one exit after the other gets the threshold that, while the others stay,
maximises

    mean chance of being right − price · cost − stiffness · (cost − where it began)²,

which running sums over its sorted rows find exactly; until nothing moves. Costs are shares of the full
depth's; the price is the slope of the geometric policy's own curve there.

Against overfitting, of which searching on few rows is all too capable:

- "right" is not taken as it was found, but as it was likely (`serving.policy.correctness`): the luck of
  single rows is averaged away.
- The stiffness holds the search back: to change one threshold is to change the cost, so a stiff search stays
  with the geometric thresholds unless much is to be had. Export chooses it by cross-fitting.
- Thresholds are made monotone in the budget, as the geometric ones are.

docs/lab-notes.md has the searches that lost. Pure numpy. Legend of shapes: N calibration rows, K
exits, R rows of a table.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int

from serving.policy.correctness import correctness_probability
from serving.policy.geometric import geometric_table
from serving.policy.plan import PathPolicy, exits_taken
from serving.policy.threshold_path import EVERYBODY_LEAVES, NOBODY_LEAVES, interpolate_path, monotone_path

DEFAULT_STIFFNESS = 100.0
"""The default: close to the geometric thresholds, and hardly ever worse."""

MOST_ROWS = 10_000
"""More rows than this are thinned out: a search over them would take many seconds and find the same."""

_COSTS = 32
_MOST_SWEEPS = 8
_GAIN = 1e-12  # less is rounding


def searched_table(
    score: Float64[np.ndarray, "n k"],
    correct: Bool[np.ndarray, "n k"],
    exit_flops: Sequence[int],
    stiffness: float = DEFAULT_STIFFNESS,
) -> Float64[np.ndarray, "r k"]:
    """Threshold vectors [R, K] that never fall, searched for accuracy at every cost.

    Args:
        score: float64 [N, K], calibration scores.
        correct: bool [N, K], whether the exit's answer is right.
        exit_flops: K costs of leaving at an exit, in FLOPs per image, rising.
        stiffness: holds the search near the geometric thresholds; see the module.
    """
    few = slice(None, None, -(-len(score) // MOST_ROWS))
    score, correct = np.asfortranarray(score[few]), correct[few]
    geometric = PathPolicy(score, correct, exit_flops, geometric_table(score))
    if score.shape[1] == 1:
        return geometric.table
    cost = np.asarray(exit_flops, np.float64) / exit_flops[-1]
    chance = correctness_probability(score, correct)
    ranking = np.argsort(-score, axis=0, kind="stable")
    curve_right = interpolate_path(score, geometric.table, chance) / len(score)
    curve_cost = interpolate_path(score, geometric.table, np.broadcast_to(cost, score.shape)) / len(score)
    found = []
    for begun_at in np.geomspace(cost[0], 1, _COSTS + 2)[1:-1]:
        goal = _Goal(chance, cost, _slope(curve_cost, curve_right, begun_at), stiffness, begun_at)
        found.append(_ascend(score, ranking, geometric.plan(begun_at * exit_flops[-1]).thresholds, goal))
    return monotone_path(np.stack(found), middle=_COSTS // 2)


@dataclass(frozen=True)
class _Goal:
    """The objective of the search: chances [N, K] of being right, at costs [K], near one cost."""

    chance: Float64[np.ndarray, "n k"]
    cost: Float64[np.ndarray, " k"]
    price: float
    stiffness: float
    begun_at: float

    def __call__(
        self, right: Float64[np.ndarray, " m"], cost: Float64[np.ndarray, " m"]
    ) -> Float64[np.ndarray, " m"]:
        return right - self.price * cost - self.stiffness * (cost - self.begun_at) ** 2


def _slope(cost: Float64[np.ndarray, " r"], right: Float64[np.ndarray, " r"], at: float) -> float:
    """The slope, at a cost, of the least concave curve over the points (cost, right); never negative."""
    hull: list[int] = []
    for point in np.lexsort((right, cost)):
        while len(hull) > 1 and _lies_under(hull[-2], hull[-1], point, cost, right):
            hull.pop()
        hull.append(int(point))
    far = int(np.clip(np.searchsorted(cost[hull], at), 1, len(hull) - 1)) if len(hull) > 1 else 0
    near, far = hull[far - 1], hull[far]
    run = cost[far] - cost[near]
    return max(0.0, float((right[far] - right[near]) / run)) if run > 0 else 0.0


def _lies_under(
    left: int, middle: int, right_end: int, cost: Float64[np.ndarray, " r"], right: Float64[np.ndarray, " r"]
) -> bool:
    """Whether the middle one of three points, ordered by cost, is not above the line between the others."""
    rise = (right[middle] - right[left]) * (cost[right_end] - cost[left])
    return bool(rise <= (right[right_end] - right[left]) * (cost[middle] - cost[left]))


def _ascend(
    score: Float64[np.ndarray, "n k"],
    ranking: Int[np.ndarray, "n k"],
    start: Float64[np.ndarray, " k"],
    goal: _Goal,
) -> Float64[np.ndarray, " k"]:
    """Improve thresholds [K] one exit at a time, until none of them moves."""
    thresholds = start.copy()
    for _ in range(_MOST_SWEEPS):
        before = thresholds.copy()
        for exit_index in reversed(range(len(thresholds) - 1)):
            thresholds[exit_index] = _best_cut(score, ranking[:, exit_index], thresholds, exit_index, goal)
        if np.array_equal(thresholds, before):
            break
    return thresholds


def _best_cut(
    score: Float64[np.ndarray, "n k"],
    order: Int[np.ndarray, " n"],
    thresholds: Float64[np.ndarray, " k"],
    exit_index: int,
    goal: _Goal,
) -> float:
    """The best threshold of one exit, given the others: as it is, or between two neighbouring scores.

    Args:
        score: float64 [N, K].
        order: int [N], the rows by their score at this exit, from high to low.
        thresholds: float64 [K].
        exit_index: whose threshold it is.
        goal: what counts.
    """
    rows, value = len(score), goal.chance
    without = thresholds.copy()
    without[exit_index] = np.inf
    exits = exits_taken(score, without)
    reached = order[exits[order] > exit_index]
    if not len(reached):
        return float(thresholds[exit_index])
    later = exits[reached]
    gained = np.cumsum(value[reached, exit_index] - value[reached, later]) / rows
    saved = np.cumsum(goal.cost[exit_index] - goal.cost[later]) / rows
    # Entry m: what it is worth, up to a constant, if the first m rows leave here.
    worth = goal(np.append(0.0, gained), goal.cost[exits].mean() + np.append(0.0, saved))
    leaving = int(worth.argmax())
    here = score[reached, exit_index]
    if worth[leaving] <= worth[int((here >= thresholds[exit_index]).sum())] + _GAIN:
        return float(thresholds[exit_index])
    above = here[leaving - 1] if leaving else NOBODY_LEAVES
    below = here[leaving] if leaving < len(here) else EVERYBODY_LEAVES
    return float((above + below) / 2)
