"""The conditions for serving a bundle, besides that it can be read.

Loading and `serving.check` share the list, and the engine's trial (`serving.engine.trial`).

Each judgement returns what it found, or raises a `BundleError` whose text says what to do.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from serving.bundle import Bundle
from serving.bundle.served_policy import served_policy
from serving.errors import BundleError
from serving.policy.budget import format_flops

_ACCURACY_TOLERANCE = 1e-3
_BUDGETS = 12


def refuse_unfit(bundle: Bundle) -> None:
    """Hold a bundle against every judgement.

    Raises:
        BundleError: names the bundle and the first judgement that it does not pass.
    """
    for name, judge in JUDGEMENTS.items():
        try:
            judge(bundle)
        except BundleError as error:
            raise BundleError(f"bundle {bundle.name!r}: {name}: {error}") from error


def _classes(bundle: Bundle) -> str:
    seen = np.unique(bundle.calibration.labels)
    count = len(bundle.manifest.classes)
    if len(seen) < 2:
        raise BundleError("the calibration images are of one class only: calibrate on images of all classes")
    return f"{count} classes, {len(seen)} of them among the calibration images"


def _flops(bundle: Bundle) -> str:
    costs = bundle.manifest.exit_flops
    if costs[0] <= 0 or any(later <= earlier for earlier, later in pairwise(costs)):
        raise BundleError(f"FLOPs must be positive and rise from exit to exit; found {list(costs)}")
    return "exits cost " + ", ".join(format_flops(cost) for cost in costs)


def _halves(bundle: Bundle) -> str:
    fit, certify = int(bundle.calibration.fit.sum()), int(bundle.calibration.certify.sum())
    if not certify:
        return f"{fit} images to fit thresholds on, none to certify them: every max_drop will be refused"
    return f"{fit} images to fit thresholds on, {certify} to certify them"


def _accuracy(bundle: Bundle) -> str:
    for number, (segment, found) in enumerate(
        zip(bundle.manifest.segments, bundle.calibration.accuracy, strict=True), start=1
    ):
        if abs(segment.validation_accuracy - found) > _ACCURACY_TOLERANCE:
            raise BundleError(
                f"the manifest gives exit {number} an accuracy of {segment.validation_accuracy:.4f}, its "
                f"calibration shows {found:.4f}: write both from the same answers"
            )
    return "calibration and manifest agree: " + ", ".join(
        f"{accuracy:.2%}" for accuracy in bundle.calibration.accuracy
    )


def _plans(bundle: Bundle) -> str:
    costs = bundle.manifest.exit_flops
    policy = served_policy(bundle.manifest, bundle.calibration)
    budgets = np.linspace(costs[0], costs[-1], _BUDGETS)
    plans = [policy.plan(float(budget)) for budget in budgets]
    for plan, richer in pairwise(plans):
        if np.any(richer.thresholds < plan.thresholds):
            raise BundleError(
                f"thresholds fall between {format_flops(plan.budget_flops)} and "
                f"{format_flops(richer.budget_flops)}: calibrate again on more images"
            )
    for plan in plans:
        if plan.expected_flops > plan.budget_flops * (1 + 1e-9):
            raise BundleError(
                f"a budget of {format_flops(plan.budget_flops)} would spend "
                f"{format_flops(plan.expected_flops)}"
            )
    return f"{_BUDGETS} budgets from {format_flops(costs[0])} to {format_flops(costs[-1])} are kept, in order"


JUDGEMENTS: dict[str, Callable[[Bundle], str]] = {
    "classes": _classes,
    "FLOPs": _flops,
    "halves": _halves,
    "accuracy": _accuracy,
    "plans": _plans,
}
