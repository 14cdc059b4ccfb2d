"""The value of a plan on images that its thresholds were not fitted on.

Pure numpy. On the rows that a policy was fitted on, its accuracy is a little too good (a few tenths of a
point where it searches). So a plan is judged on the certifying rows, which no fit has seen; on a bundle
without any, by cross-fitting. Either way the accuracy is that of a finite sample: another set of images
differs by about as much as its interval says.

Legend of shapes: N calibration rows, K exits.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float64

from serving.policy.plan import Plan, evaluate_thresholds
from serving.policy.registry import Policy, fit_policy
from serving.policy.risk import share_interval

FOLDS = 5


class HeldOut:
    """Judges plans on rows that their thresholds were not fitted on.

    The thresholds of a guarantee are chosen on these rows, out of a path that is not: one number out of a few
    thousand, so their accuracy is hardly flattered.

    Args:
        score: float64 [N, K].
        correct: bool [N, K], whether the exit's answer is right.
        exit_flops: K costs of leaving at an exit, in FLOPs per image.
    """

    def __init__(
        self, score: Float64[np.ndarray, "n k"], correct: Bool[np.ndarray, "n k"], exit_flops: Sequence[int]
    ) -> None:
        self._score, self._correct, self._exit_flops = score, correct, exit_flops

    def __call__(self, plan: Plan) -> Plan:
        """Return the plan with what its thresholds do to these rows."""
        judged = evaluate_thresholds(
            self._score, self._correct, self._exit_flops, plan.thresholds, plan.budget_flops
        )
        return replace(judged, judged_on="held out")


class CrossFitted:
    """Judges plans where every row was fitted on: each fifth by a policy that is fitted on the others.

    Args:
        policy: how rows become a path.
        score: float64 [N, K].
        correct: bool [N, K], whether the exit's answer is right.
        exit_flops: K costs of leaving at an exit, in FLOPs per image.
    """

    def __init__(
        self,
        policy: Policy,
        score: Float64[np.ndarray, "n k"],
        correct: Bool[np.ndarray, "n k"],
        exit_flops: Sequence[int],
    ) -> None:
        fold = np.random.default_rng(0).permutation(len(score)) % min(FOLDS, len(score))
        self._parts = [
            (
                fit_policy(policy, score[fold != number], correct[fold != number], exit_flops),
                HeldOut(score[fold == number], correct[fold == number], exit_flops),
            )
            for number in range(fold.max() + 1)
            if len(score) > 1
        ]

    def __call__(self, plan: Plan) -> Plan:
        """Return the plan with what such thresholds, fitted on other rows, do to all rows."""
        if not self._parts:
            return plan
        judged = [held_out(policy.plan(plan.budget_flops)) for policy, held_out in self._parts]
        images = np.array([found.images for found in judged])
        weight = images / images.sum()
        right = round(float(np.dot([found.expected_accuracy for found in judged], images)))
        return replace(
            plan,
            shares=weight @ np.stack([found.shares for found in judged]),
            expected_flops=float(weight @ np.array([found.expected_flops for found in judged])),
            expected_accuracy=right / int(images.sum()),
            expected_accuracy_interval=share_interval(right, int(images.sum())),
            images=int(images.sum()),
            judged_on="cross-fitted",
        )
