"""Thresholds that provably lose few answers: risk control over the half of the calibration kept for it.

Jazbec et al., *Fast yet Safe: Early-Exiting with Risk Control* (NeurIPS 2024), with fixed-sequence testing:
the policy's path is walked from the full depth, where the risk is 0, downwards; every threshold vector is
tested on the certifying rows, until the first that is not proven. All before it hold together, with
probability at least 1 − δ: to prove something false, the walk has to get past the first false one, which is
one test. So no correction for many tests is due. The path itself comes from the other half, or the tests
would be of hypotheses that the same rows suggested.

The risk is that of losing an answer that the full depth had: E[1{full depth right and early answer wrong}].
It bounds the drop in accuracy from above, since early answers that are right where the full depth is wrong
do not make up for it.

Its conditions: the traffic is exchangeable with the calibration images (drawn from the same source, in no
order that matters).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from serving.errors import BudgetError, TermsError
from serving.policy.budget import format_flops
from serving.policy.plan import PathPolicy, Plan
from serving.policy.risk import (
    DEFAULT_DELTA,
    LEAST_MAX_DROP,
    check_probability,
    least_drop,
    least_n,
    most_errors,
    p_value,
)
from serving.policy.threshold_path import interpolate_path, refine_path

_STEPS_BETWEEN = 32  # tested points from one row of the path's table to the next


@dataclass(frozen=True)
class Certificate:
    """A promise and its evidence.

    Attributes:
        max_drop: the risk is at most this,
        delta: unless the certifying images were a draw as unlucky as this.
        images: how many certifying images there were.
        risk: the share of them for which the full depth is right and the early answer wrong.
        p_value: the chance of so low a share if the risk were over `max_drop`; at most `delta`.
    """

    max_drop: float
    delta: float
    images: int
    risk: float
    p_value: float


@dataclass(frozen=True, eq=False)
class Guaranteed:
    """A plan, and what is promised of it; its `budget_flops` is the cap if there was one, else its cost."""

    plan: Plan
    certificate: Certificate


class Certifier:
    """Finds the cheapest thresholds on a policy's path that keep a promise.

    Args:
        policy: fitted without the certifying rows.
        score: float64 [M, K], the certifying rows.
        correct: bool [M, K], whether each exit is right about them.
    """

    def __init__(
        self, policy: PathPolicy, score: Float64[np.ndarray, "m k"], correct: Bool[np.ndarray, "m k"]
    ) -> None:
        self._policy = policy
        self._images = len(score)
        self._path = refine_path(policy.table, _STEPS_BETWEEN)
        lost = correct[:, -1:] & ~correct
        self._errors = np.rint(interpolate_path(score, self._path, lost)).astype(np.int64)

    def plan(
        self, max_drop: float, delta: float = DEFAULT_DELTA, budget_flops: float | None = None
    ) -> Guaranteed:
        """The cheapest thresholds proven to lose at most `max_drop`.

        Args:
            max_drop: the risk allowed, in (0, 1): 0.02 is two images in a hundred.
            delta: the chance allowed that the proof is a fluke, in (0, 1).
            budget_flops: a cap on what they may cost, in FLOPs per image. The guarantee comes first: the cap
                refuses, it never makes thresholds cheaper or dearer.

        Raises:
            TermsError: a number out of range, or too few certifying images for it.
            BudgetError: the cap is under what the guarantee costs, which the text says.
        """
        check_probability("max_drop", max_drop)
        check_probability("delta", delta)
        allowed = most_errors(self._images, max_drop, delta)
        if allowed < 0:
            raise TermsError(self._too_few(max_drop, delta))
        # From the full depth, the path's last row, down to just before the first that is not proven.
        unproven = np.flatnonzero(self._errors > allowed)
        cheapest = int(unproven[-1]) + 1 if len(unproven) else 0
        plan = self._policy.judge(self._path[cheapest], budget_flops)
        if budget_flops is not None and plan.expected_flops > budget_flops:
            raise BudgetError(
                f"max_drop={max_drop:g} costs {format_flops(plan.expected_flops)} per image, over the budget "
                f"of {format_flops(budget_flops)}: allow a larger drop or a larger budget"
            )
        errors = int(self._errors[cheapest])
        certificate = Certificate(
            max_drop, delta, self._images, errors / self._images, p_value(errors, self._images, max_drop)
        )
        return Guaranteed(plan, certificate)

    def _too_few(self, max_drop: float, delta: float) -> str:
        asked = f"max_drop={max_drop:g} with delta={delta:g} needs"
        if not self._images:
            return (
                f"{asked} certifying images, and the bundle's calibration has none: calibrate on images that "
                "the network was not trained on"
            )
        countable = max_drop >= LEAST_MAX_DROP
        needed = f"at least {least_n(max_drop, delta)}" if countable else "far more"
        return (
            f"{asked} {needed} certifying images, the bundle's calibration has {self._images}: the least "
            f"that these can prove is max_drop={least_drop(self._images, delta):g}; allow so much, or "
            "calibrate on more images"
        )
