"""A total of FLOPs for a finite set of images: never exceeded, and met but for less than one full depth.

Each row decides as it comes, without waiting for the others. The ledger keeps two sums over all rows: the
least that they can cost together (those under way leave at their next exit) and the most (those under way go
to the last). A row may go on while the least stays within the total, and may leave while the most stays above
the total less one full depth. One of the two is always allowed: where leaving is not, the most is at most the
total less the cost of the exit that the row is at, and the least with the row's next stage is no more than
that. At the end both sums are the cost of the job.

Within these limits thresholds decide. They follow the path of average budgets: before each decision the
ledger takes the furthest point of the path at which the rows that are left, by what calibration rows do
there, are expected to stay within the total.

Pure numpy. Legend of shapes: N calibration rows, K exits, R rows of the policy's table, P points of the
path, M rows at an exit.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64

from serving.policy.threshold_path import interpolate_path, refine_path

_STEPS = 16
"""Number of points of the path between two rows of the policy's table."""


class Pace:
    """Thresholds at every point of a path, and what rows cost there once they have come to a stage.

    Args:
        table: float64 [R, K], threshold vectors that never fall (`PathPolicy.table`).
        score: float64 [N, K], calibration scores.
        exit_flops: K costs of leaving at an exit, in FLOPs per image, rising.

    Attributes:
        thresholds: float64 [P, K].
        ends_at_flops: float64 [K, P], the expected cost of a row, from its start, that starts stage k.
    """

    def __init__(
        self, table: Float64[np.ndarray, "r k"], score: Float64[np.ndarray, "n k"], exit_flops: Sequence[int]
    ) -> None:
        self.exit_flops = tuple(exit_flops)
        self.thresholds = refine_path(table, _STEPS)
        flops, places = np.asarray(exit_flops, np.float64), np.arange(len(exit_flops))
        expected = []
        for stage, least in enumerate(exit_flops):
            there = np.broadcast_to(places >= stage, score.shape)
            rows = interpolate_path(score, self.thresholds, there)
            total = interpolate_path(score, self.thresholds, there * flops)
            # No calibration row starts the stage at the path's first points: rows that do leave right after.
            expected.append(np.maximum(total / np.maximum(rows, 1), least))
        self.ends_at_flops = np.stack(expected)


class Ledger:
    """Decides for the rows of one shard, so that they cost their total.

    Args:
        pace: the model's.
        rows: how many there are.
        total_flops: what they may cost together, at least the first exit for each; more than the full depth
            for each counts as that.
    """

    def __init__(self, pace: Pace, rows: int, total_flops: int) -> None:
        self._pace, self._flops = pace, pace.exit_flops
        self._total = min(total_flops, rows * self._flops[-1])
        self._least = rows * self._flops[0]
        self._most = rows * self._flops[-1]
        self._left_flops = 0
        self._at_stage = np.zeros(len(self._flops), np.int64)
        self._at_stage[0] = rows

    @property
    def spent_flops(self) -> int:
        """What the rows cost, those counted that are under way as if they left at their next exit."""
        return self._least

    def decide(self, exit_index: int, score: Float64[np.ndarray, " m"]) -> Bool[np.ndarray, " m"]:
        """Say which rows leave.

        Args:
            exit_index: where the rows are, not the last.
            score: float64 [M], their scores there.

        Returns:
            bool [M].
        """
        threshold = self._pace.thresholds[self._point(), exit_index]
        leaves = np.ones(len(score), np.bool_)
        surest_last = np.argsort(score, kind="stable").tolist()
        going = [row for row in surest_last if score[row] < threshold]
        staying = [row for row in reversed(surest_last) if score[row] >= threshold]
        step = self._flops[exit_index + 1] - self._flops[exit_index]
        for row in going:
            leaves[row] = self._least + step > self._total
            self._note(exit_index, leaves=bool(leaves[row]))
        for row in staying:
            ahead = self._flops[-1] - self._flops[exit_index]
            leaves[row] = self._most - ahead > self._total - self._flops[-1]
            self._note(exit_index, leaves=bool(leaves[row]))
        return leaves

    def _note(self, exit_index: int, *, leaves: bool) -> None:
        here = self._flops[exit_index]
        self._at_stage[exit_index] -= 1
        if leaves:
            self._most -= self._flops[-1] - here
            self._left_flops += here
        else:
            self._least += self._flops[exit_index + 1] - here
            self._at_stage[exit_index + 1] += 1

    def _point(self) -> int:
        """The furthest point of the path that the rows still under way are expected to afford."""
        expected = self._left_flops + self._at_stage @ self._pace.ends_at_flops
        affordable = np.flatnonzero(expected <= self._total)
        return int(affordable[-1]) if affordable.size else 0


def share(total_flops: int, images: int, end: int, spent_flops: int) -> int:
    """What the shard that ends before the image `end` may cost: its share by rows, and what is left over.

    Args:
        total_flops: of the whole job.
        images: of the whole job.
        end: the number of images up to the end of this shard.
        spent_flops: what the shards before it cost.

    >>> share(1000, images=10, end=4, spent_flops=0), share(1000, images=10, end=8, spent_flops=390)
    (400, 410)
    """
    return total_flops * end // images - spent_flops
