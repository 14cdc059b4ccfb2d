"""Hard budgets: a limit on the sum of FLOPs of a request's images, shared out by their scores.

Every image goes through the first exit; its cost is reserved. At each exit the rule decides for the whole
request at once which images go on, given the FLOPs that are left. It follows the path of thresholds that
average budgets follow (`serving.policy.plan`), as far as the request's own images allow: the n least
confident of the remaining images go on, with the largest n that the remaining FLOPs cover. The n-th goes on
from a certain point of the path. The expected cost of each of the n is the mean cost of the calibration
images that go on at that point. At the next exit, with the new scores, the rule decides anew. A stage is
always paid for before an image enters it, so the sum is never exceeded, whatever the expectation. The more
images, the closer the request comes to the thresholds of an average budget.

Pure numpy. Legend of shapes: N calibration rows, K exits, R rows of a policy's table, P points of the path,
M images of a request.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64

from serving.policy.threshold_path import interpolate_path, refine_path

_POINTS = 4
"""Number of points of the path between two rows of the policy's table."""


class GroupPath:
    """The rows that go on from an exit, at every point of a path of thresholds, and their expected cost.

    Args:
        table: float64 [R, K], the path: threshold vectors that never fall (`PathPolicy.table`).
        score: float64 [N, K], calibration scores.
        exit_flops: K costs of leaving at an exit, in FLOPs per image, rising.
    """

    def __init__(
        self, table: Float64[np.ndarray, "r k"], score: Float64[np.ndarray, "n k"], exit_flops: Sequence[int]
    ) -> None:
        self._table = refine_path(table, _POINTS)
        flops = np.asarray(exit_flops, np.float64)
        beyond = np.arange(len(flops))
        self._ahead_flops: list[Float64[np.ndarray, " p"]] = []
        for exit_index, here in enumerate(flops[:-1]):
            going = np.broadcast_to(beyond > exit_index, score.shape)
            rows = interpolate_path(score, self._table, going)
            total = interpolate_path(score, self._table, going * (flops - here))
            step = flops[exit_index + 1] - here
            # No calibration row goes on at the path's first points: the least sure row stands in for them.
            self._ahead_flops.append(np.maximum(total / np.maximum(rows, 1), step))

    def choose(
        self, exit_index: int, score: Float64[np.ndarray, " m"], flops_left: float
    ) -> Bool[np.ndarray, " m"]:
        """Choose the images that go on.

        Args:
            exit_index: where the images are, not the last.
            score: float64 [M], their scores there.
            flops_left: what they may cost together from here on.

        Returns:
            bool [M]; as many True as `flops_left` pays for, at most.
        """
        least_sure_first = np.argsort(score, kind="stable")
        point = np.searchsorted(self._table[:, exit_index], score[least_sure_first], side="right")
        ahead_flops = self._ahead_flops[exit_index][np.minimum(point, len(self._table) - 1)]
        payable = np.flatnonzero(ahead_flops * np.arange(1, len(score) + 1) <= flops_left)
        goes_on = np.zeros(len(score), np.bool_)
        if payable.size:
            goes_on[least_sure_first[: payable[-1] + 1]] = True
        return goes_on
