"""The checks of a bundle, whoever wrote it: is it fit to be served?

Everything that loading refuses is checked, then what only running shows: the segments chain at several batch
sizes, answers are probabilities and do not depend on the batch, and budgets buy what they should.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.bundle import Bundle, TensorSpec, read_bundle
from serving.bundle.served_policy import served_policy
from serving.engine.engine import Engine
from serving.errors import OfframpError
from serving.policy.budget import format_flops

IMAGES = 3
_SUM_TOLERANCE = 1e-3
_BATCH_TOLERANCE = 1e-4
_ACCURACY_TOLERANCE = 1e-3
_BUDGETS = 12


@dataclass(frozen=True)
class Verdict:
    """One check: its name, whether the bundle passed, and what was found (and what to do where it failed)."""

    check: str
    ok: bool
    detail: str


class CheckFailedError(Exception):
    """A check's way of saying no; its text says what to do."""


def check_bundle(folder: Path | str) -> Iterator[Verdict]:
    """Run every check on a bundle, in order; those that a failed one makes pointless are left out."""
    try:
        bundle = read_bundle(folder)
    except OfframpError as error:
        yield Verdict("files", False, str(error))
        return
    manifest = bundle.manifest
    yield Verdict("files", True, f"{len(manifest.segments)} segments, checksums match, no file leads outside")
    for name, check in CHECKS.items():
        try:
            yield Verdict(name, True, check(bundle))
        except (CheckFailedError, OfframpError) as failure:
            yield Verdict(name, False, str(failure))


def _classes(bundle: Bundle) -> str:
    seen = np.unique(bundle.calibration.labels)
    count = len(bundle.manifest.classes)
    if len(seen) < 2:
        raise CheckFailedError(
            "the calibration images are of one class only: calibrate on images of all classes"
        )
    return f"{count} classes, {len(seen)} of them among the calibration images"


def _flops(bundle: Bundle) -> str:
    costs = bundle.manifest.exit_flops
    if costs[0] <= 0 or any(later <= earlier for earlier, later in pairwise(costs)):
        raise CheckFailedError(f"FLOPs must be positive and rise from exit to exit; found {list(costs)}")
    return "exits cost " + ", ".join(format_flops(cost) for cost in costs)


def _halves(bundle: Bundle) -> str:
    fit, certify = int(bundle.calibration.fit.sum()), int(bundle.calibration.certify.sum())
    if not certify:
        raise CheckFailedError(
            "no calibration image is kept for certifying: set about half of the `certify` mask"
        )
    return f"{fit} images to fit thresholds on, {certify} to certify them"


def _accuracy(bundle: Bundle) -> str:
    for number, (segment, found) in enumerate(
        zip(bundle.manifest.segments, bundle.calibration.accuracy, strict=True), start=1
    ):
        if abs(segment.validation_accuracy - found) > _ACCURACY_TOLERANCE:
            raise CheckFailedError(
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
            raise CheckFailedError(
                f"thresholds fall between {format_flops(plan.budget_flops)} and "
                f"{format_flops(richer.budget_flops)}: calibrate again on more images"
            )
    for plan in plans:
        if plan.expected_flops > plan.budget_flops * (1 + 1e-9):
            raise CheckFailedError(
                f"a budget of {format_flops(plan.budget_flops)} would spend "
                f"{format_flops(plan.expected_flops)}"
            )
    return f"{_BUDGETS} budgets from {format_flops(costs[0])} to {format_flops(costs[-1])} are kept, in order"


def _runs(bundle: Bundle) -> str:
    try:
        engine = Engine(bundle, threads=1, providers=["CPUExecutionProvider"], strict=False)
        together = _run_chain(bundle, engine, _images(bundle))
        alone = [_run_chain(bundle, engine, image[None]) for image in _images(bundle)]
    except (CheckFailedError, OfframpError):
        raise
    except Exception as error:  # A stranger's graph can fail in the runtime in any way: all are its verdict.
        raise CheckFailedError(f"the engine cannot run it ({error}); export it again") from error
    apart = max(
        float(np.abs(np.concatenate(rows) - batch).max())
        for batch, rows in zip(together, zip(*alone, strict=True), strict=True)
    )
    if apart > _BATCH_TOLERANCE:
        raise CheckFailedError(
            f"probabilities depend on the batch: {apart:.2e} between batches of 1 and {IMAGES}; "
            "no operator may mix the rows of a batch (BatchNorm in training mode does)"
        )
    return f"batches of 1 and {IMAGES} agree to {apart:.1e}; every row is a distribution"


CHECKS: dict[str, Callable[[Bundle], str]] = {
    "classes": _classes,
    "FLOPs": _flops,
    "halves": _halves,
    "accuracy": _accuracy,
    "plans": _plans,
    "engine": _runs,
}
"""Every check of a bundle that could be read: it returns what it found, or raises."""


def _images(bundle: Bundle) -> npt.NDArray[np.uint8]:
    spec = bundle.manifest.preprocessing
    shape = (IMAGES, spec.height, spec.width, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _run_chain(
    bundle: Bundle, engine: Engine, images: npt.NDArray[np.uint8]
) -> list[npt.NDArray[np.float32]]:
    """Send images [n, H, W, 3] through every segment and return each exit's probabilities [n, C]."""
    answers: list[npt.NDArray[np.float32]] = []
    inputs: tuple[npt.NDArray[Any], ...] = (images,)
    for index, segment in enumerate(bundle.manifest.segments):
        probabilities, features = engine.run(index, inputs)
        tensors = (probabilities, *(np.asarray(feature) for feature in features))
        for values, spec in zip(tensors, segment.outputs, strict=True):
            _check_tensor(index + 1, values, spec, len(images))
        if np.abs(probabilities.sum(axis=1) - 1).max() > _SUM_TOLERANCE or probabilities.min() < 0:
            raise CheckFailedError(
                f"the rows of exit {index + 1} are no probabilities (they sum to "
                f"{probabilities.sum(axis=1).round(4).tolist()}); end the segment in a float32 Softmax"
            )
        answers.append(probabilities)
        inputs = features
    return answers


def _check_tensor(number: int, values: npt.NDArray[np.generic], spec: TensorSpec, rows: int) -> None:
    shape = (rows, *spec.shape[1:])
    if values.shape != shape or values.dtype != np.dtype(spec.dtype):
        raise CheckFailedError(
            f"{spec.name!r} of segment {number} came out as {values.dtype} {list(values.shape)}; "
            f"the manifest promises {spec.dtype} {list(shape)}"
        )
    if not np.isfinite(values).all():
        raise CheckFailedError(
            f"{spec.name!r} of segment {number} holds NaN or infinity; the model is broken"
        )
