"""Stratified draws: every class gets its share, to the image."""

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def stratified(labels: Ints, count: int, rng: np.random.Generator, *, least: int = 0, keep: int = 0) -> Ints:
    """Draw positions so that each class gets its share of `count`.

    Args:
        labels: int64 [N], not negative.
        count: how many to draw; fewer come back where `keep` leaves fewer.
        rng: draws the order within each class.
        least: at least this many of each class are drawn, where it has them.
        keep: at least this many of each class are left.

    Returns:
        int64 [≤ count], ascending positions in `labels`.
    """
    sizes = np.bincount(labels)
    takes = apportion(sizes, count, np.minimum(least, sizes), np.maximum(sizes - keep, 0))
    order = rng.permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    starts = np.cumsum(sizes) - sizes
    rank = np.arange(len(labels)) - np.repeat(starts, sizes)
    return np.sort(by_class[rank < np.repeat(takes, sizes)]).astype(np.int64)


def apportion(sizes: Ints, count: int, lower: Ints, upper: Ints) -> Ints:
    """Share `count` seats among classes in proportion to their sizes, by largest remainders within bounds.

    Args:
        sizes: int64 [C].
        count: seats; clipped to what the bounds allow.
        lower: int64 [C], the fewest seats of each class.
        upper: int64 [C], the most, not below `lower`.

    Returns:
        int64 [C]; equal remainders go to the earlier class.
    """
    count = int(np.clip(count, lower.sum(), upper.sum()))
    quota = sizes * (count / max(1, sizes.sum()))
    seats: Ints = np.clip(np.floor(quota).astype(np.int64), lower, upper)
    while seats.sum() != count:
        step = 1 if seats.sum() < count else -1
        free = np.flatnonzero(seats < upper if step > 0 else seats > lower)
        wanting = free[np.argsort(-step * (quota - seats)[free], kind="stable")]
        seats[wanting[: abs(count - int(seats.sum()))]] += step
    return seats
