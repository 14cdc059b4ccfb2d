"""Moves the rows that stay to the front of a batch, in place: the fewest copies that leave no gaps."""

from collections.abc import Sequence

import numpy as np

from serving.rows import IndexArray, Tensors


def close_up(tensors: Tensors, chosen: IndexArray) -> Sequence[int]:
    """Make the first N rows of every tensor those that were chosen.

    Rows that are there already stay where they are; the gaps are filled from behind. So no more rows are
    copied than leave, and none twice.

    Args:
        tensors: each [M, ...], changed in place.
        chosen: the N indices within M of the rows that stay, rising.

    Returns:
        For each of the N places, which of `chosen` is there now.

    >>> tensor = np.array([10, 11, 12, 13, 14])
    >>> close_up((tensor,), np.array([1, 2, 4])), tensor[:3].tolist()
    ([2, 0, 1], [14, 11, 12])
    """
    count = len(chosen)
    stay = int(np.searchsorted(chosen, count))
    gaps = np.setdiff1d(np.arange(count), chosen[:stay], assume_unique=True).tolist()
    for tensor in tensors:
        for gap, source in zip(gaps, chosen[stay:].tolist(), strict=True):
            tensor[gap] = tensor[source]
    order = np.empty(count, np.intp)
    order[chosen[:stay]] = np.arange(stay)
    order[gaps] = np.arange(stay, count)
    found: list[int] = order.tolist()
    return found
