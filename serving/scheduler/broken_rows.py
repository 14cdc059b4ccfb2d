"""Finds the rows of a batch on which the net overflowed: their request fails, and no other."""

from collections.abc import Sequence

import numpy as np

from serving.interfaces import IndexArray, Mask, Tensors


def broken_rows(tensors: Tensors) -> IndexArray:
    """Return the rows that hold NaN or infinity in any tensor.

    Args:
        tensors: each [N, ...]; those of whole numbers hold neither.

    >>> broken_rows((np.array([[1.0], [np.inf], [np.nan]]), np.array([0, 1, 2])))
    array([1, 2])
    """
    broken: Sequence[Mask] = [
        np.asarray(~np.isfinite(tensor).all(axis=tuple(range(1, tensor.ndim))))
        for tensor in tensors
        if tensor.dtype.kind == "f" and not _all_finite(tensor)
    ]
    return np.flatnonzero(np.any(broken, axis=0)) if broken else np.empty(0, np.intp)


def _all_finite(tensor: np.ndarray) -> bool:
    """Whether extremes are finite; NaN is the extreme of all that holds one. Much quicker than `isfinite`."""
    return not tensor.size or bool(np.isfinite(tensor.max()) and np.isfinite(tensor.min()))
