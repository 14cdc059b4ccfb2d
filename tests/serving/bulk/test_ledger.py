"""The total is never exceeded, and met but for less than one full depth: for any scores, in any order."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serving.bulk.ledger import Ledger, Pace, share
from serving.bundle.served_policy import served_policy
from tests.bundles import EXIT_FLOPS, tiny_calibration, tiny_manifest

_CALIBRATION = tiny_calibration()
_SCORE = _CALIBRATION.score("max_probability")[_CALIBRATION.fit]
_PACE = Pace(served_policy(tiny_manifest(), _CALIBRATION).table, _SCORE, EXIT_FLOPS)


def spent(ledger: Ledger, score: np.ndarray, order: np.random.Generator, batch: int) -> int:
    """Take rows through the exits in batches of a random order of stages; return what they cost."""
    waiting: list[list[int]] = [list(range(len(score))), *([] for _ in EXIT_FLOPS[1:])]
    total = 0
    while any(waiting):
        stage = int(order.choice([stage for stage, rows in enumerate(waiting) if rows]))
        rows, waiting[stage] = waiting[stage][:batch], waiting[stage][batch:]
        last = stage == len(EXIT_FLOPS) - 1
        leaves = np.ones(len(rows), bool) if last else ledger.decide(stage, score[rows, stage])
        total += int(leaves.sum()) * EXIT_FLOPS[stage]
        if not last:
            waiting[stage + 1] += [row for row, gone in zip(rows, leaves, strict=True) if not gone]
    return total


@given(
    rows=st.integers(1, 60),
    share_of_range=st.floats(0, 1),
    batch=st.integers(1, 20),
    seed=st.integers(0, 2**32 - 1),
    hard=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_the_total_holds_from_both_sides(
    rows: int, share_of_range: float, batch: int, seed: int, hard: float
) -> None:
    random = np.random.default_rng(seed)
    score = (1 - hard) * random.random((rows, len(EXIT_FLOPS))) + hard * random.random()
    cheapest, deepest = rows * EXIT_FLOPS[0], rows * EXIT_FLOPS[-1]
    total = int(cheapest + share_of_range * (deepest - cheapest))
    ledger = Ledger(_PACE, rows, total)

    cost = spent(ledger, score, random, batch)

    assert ledger.spent_flops == cost
    assert total - EXIT_FLOPS[-1] < cost <= total


def test_rows_as_sure_as_the_calibrations_go_as_far() -> None:
    # The least sure rows go on: the mean score of those that leave at once is higher than of the others.
    random = np.random.default_rng(3)
    score = _SCORE[random.integers(0, len(_SCORE), 500)]
    ledger = Ledger(_PACE, 500, 500 * 3000)
    left = np.concatenate([ledger.decide(0, score[start : start + 50, 0]) for start in range(0, 500, 50)])
    assert score[left, 0].mean() > score[~left, 0].mean() + 0.2


def test_shares_of_all_shards_are_the_total() -> None:
    ends, spent_flops = (3, 6, 7), 0
    for end in ends:
        spent_flops += share(1001, images=7, end=end, spent_flops=spent_flops)
    assert spent_flops == 1001
