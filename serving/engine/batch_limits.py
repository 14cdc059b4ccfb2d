"""Limits of a stage's batches by memory, from the shapes in a bundle."""

import math
from collections.abc import Sequence

import numpy as np

from serving.bundle.manifest import SegmentSpec, TensorSpec

_SLICE_BYTES = 32 * 2**20  # of features: the memory inside a graph is a few times as much
_KEPT_BATCHES = 2  # the deepest stage worth running goes first, so no more wait ahead of it


def row_bytes(tensors: Sequence[TensorSpec]) -> int:
    """The bytes of one row in all of these tensors."""
    return sum(
        math.prod(size or 1 for size in tensor.shape) * np.dtype(tensor.dtype).itemsize for tensor in tensors
    )


def most_rows(segments: Sequence[SegmentSpec], max_batch: int, max_bytes: int) -> list[int]:
    """The largest batch of each stage: what goes in and what comes out stay within `max_bytes` together.

    One row always may run. The memory inside a graph is not known, and comes on top.
    """
    return [
        max(1, min(max_batch, max_bytes // row_bytes((*segment.feature_inputs, *segment.outputs))))
        for segment in segments
    ]


def slice_rows(segments: Sequence[SegmentSpec]) -> int:
    """The most rows to take through a graph at once: features at every boundary stay within 32 MiB.

    What a graph holds inside is a few times that, for each thread. Batches of small images are not cut by it.
    """
    largest = max(
        row_bytes(tensors) for segment in segments for tensors in (segment.feature_inputs, segment.outputs)
    )
    return max(1, _SLICE_BYTES // largest)


def kept_rows(segments: Sequence[SegmentSpec], max_batch: int, max_bytes: int) -> list[int]:
    """The rows that the buffers before each stage keep room for: a few batches, within `max_bytes`."""
    return [
        max(1, min(_KEPT_BATCHES * max_batch, max_bytes // row_bytes(segment.feature_inputs)))
        for segment in segments
    ]
