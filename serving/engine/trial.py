"""Runs a bundle's segments on a few images, as they will be run, and judges the outputs.

Opening an engine includes this verdict: an output that is no probability would be a confidence below 0 in an
answer, and a row that depends on its neighbours would make thresholds meaningless.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.bundle import SegmentSpec, TensorSpec
from serving.errors import BundleError
from serving.interfaces import FloatArray, RunStage, Tensors

IMAGES = 3
_SUM_TOLERANCE = 1e-3


def try_out(
    run: RunStage, segments: Sequence[SegmentSpec], sizes: Sequence[int], *, tolerance: float | None
) -> str:
    """Run black images and noise through all segments.

    Args:
        run: runs a segment.
        segments: what the manifest promises of them.
        sizes: of batches of black images, so that no request pays for first-run work.
        tolerance: how far an image's answer may depend on how many are computed together; None where hardware
            chooses other algorithms for other sizes.

    Returns:
        The findings.

    Raises:
        BundleError: a segment does not run or is not what the manifest says, or its answers are no
            probabilities or depend on the batch; names the segment's file.
    """
    for rows in sizes:
        _run_chain(run, segments, np.zeros(_shape(segments, rows), np.uint8))
    images = noise(segments, IMAGES)
    together = _run_chain(run, segments, images)
    alone = [_run_chain(run, segments, image[None]) for image in images]
    apart = max(
        float(np.abs(np.concatenate(rows) - batch).max())
        for batch, rows in zip(together, zip(*alone, strict=True), strict=True)
    )
    if tolerance is not None and apart > tolerance:
        raise BundleError(
            f"probabilities depend on the batch: {apart:.2e} between batches of 1 and {IMAGES}; "
            "no operator may mix the rows of a batch (BatchNorm in training mode does)"
        )
    return f"batches of 1 and {IMAGES} agree to {apart:.1e}; every row is a distribution"


def noise(segments: Sequence[SegmentSpec], rows: int) -> npt.NDArray[np.uint8]:
    """Return images [rows, H, W, 3] of noise, the same ones every time."""
    return np.random.default_rng(0).integers(0, 256, _shape(segments, rows), dtype=np.uint8)


def _shape(segments: Sequence[SegmentSpec], rows: int) -> tuple[int, ...]:
    return (rows, *(size or 1 for size in segments[0].inputs[0].shape[1:]))


def _run_chain(
    run: RunStage, segments: Sequence[SegmentSpec], images: npt.NDArray[np.uint8]
) -> list[FloatArray]:
    """Send images [n, H, W, 3] through every segment and return each exit's probabilities [n, C]."""
    answers: list[FloatArray] = []
    inputs: Tensors = (images,)
    for stage, segment in enumerate(segments):
        try:
            probabilities, features = run(stage, inputs)
            for values, spec in zip((probabilities, *features), segment.outputs, strict=True):
                _check_tensor(values, spec, len(images))
            _check_probabilities(probabilities, stage + 1)
        except Exception as error:  # whatever a foreign graph raises
            raise BundleError(
                f"{segment.file} does not run as the manifest says on {len(images)} image(s): {error}; "
                "export the bundle again"
            ) from error
        answers.append(probabilities)
        inputs = features
    return answers


def _check_tensor(values: npt.NDArray[Any], spec: TensorSpec, rows: int) -> None:
    shape = (rows, *spec.shape[1:])
    if values.shape != shape or values.dtype.name != spec.dtype:
        raise BundleError(
            f"expected {spec.name!r} to be {spec.dtype} {list(shape)}, "
            f"found {values.dtype.name} {list(values.shape)}"
        )
    if not np.isfinite(values).all():
        raise BundleError(f"{spec.name!r} holds values that are not numbers, or not finite ones")


def _check_probabilities(probabilities: FloatArray, number: int) -> None:
    sums = probabilities.sum(axis=1, dtype=np.float64)
    if np.abs(sums - 1).max() > _SUM_TOLERANCE or probabilities.min() < 0:
        raise BundleError(
            f"the rows of exit {number} are no probabilities (from {probabilities.min():.4g} to "
            f"{probabilities.max():.4g}, they sum to {sums.round(4).tolist()}); "
            "end the segment in a float32 Softmax"
        )
