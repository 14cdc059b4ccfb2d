"""What batches of different sizes cost in one stage: pure arithmetic on seconds at a few sizes."""

from bisect import bisect_left
from collections.abc import Mapping
from functools import cached_property

TOLERANCE = 0.03
"""Costs per row that differ by less than this are the same."""
CLEARLY = 0.1
"""A smaller batch is run instead of all that wait where it is cheaper per row by this: costs are noisy."""
_LEAST_SHARE = 4  # of the largest size that is known


class Rates:
    """Seconds at a few sizes, joined by straight lines.

    Args:
        seconds_at: seconds by batch size; empty where nothing is known.
    """

    def __init__(self, seconds_at: Mapping[int, float]) -> None:
        self._sizes = sorted(seconds_at)
        self._seconds = [seconds_at[size] for size in self._sizes]

    def seconds(self, rows: int) -> float:
        """How long a batch takes.

        Under the smallest size that is known it takes as long as that one, over the largest it grows with the
        rows. Where nothing is known it takes no time, so that it may run.
        """
        if not self._sizes:
            return 0.0
        place = bisect_left(self._sizes, rows)
        if place == len(self._sizes):
            return self._seconds[-1] * rows / self._sizes[-1]
        if place == 0:
            return self._seconds[0]
        low, high = self._sizes[place - 1], self._sizes[place]
        share = (rows - low) / (high - low)
        return self._seconds[place - 1] + (self._seconds[place] - self._seconds[place - 1]) * share

    @cached_property
    def efficient_rows(self) -> int:
        """The smallest size that is known whose cost per row is the least there is, give or take `TOLERANCE`.

        At least a quarter of the largest: a few noisy runs may call any size cheap, and nobody idles while a
        larger batch gathers, but other stages run. 0 where nothing is known.

        >>> Rates({1: 0.010, 8: 0.048, 32: 0.190}).efficient_rows
        8
        """
        per_row = [seconds / size for size, seconds in zip(self._sizes, self._seconds, strict=True)]
        limit = min(per_row, default=0.0) * (1 + TOLERANCE)
        for size, cost in zip(self._sizes, per_row, strict=True):
            if cost <= limit and size * _LEAST_SHARE >= self._sizes[-1]:
                return size
        return self._sizes[-1] if self._sizes else 0

    def cheapest_rows(self, rows: int) -> int:
        """How many of `rows` to run together: all, unless a smaller size that is known costs less per row.

        >>> rates = Rates({1: 0.010, 8: 0.048, 32: 0.256})
        >>> rates.cheapest_rows(5), rates.cheapest_rows(32)
        (5, 8)
        """
        smaller = [
            (seconds / size, -size)
            for size, seconds in zip(self._sizes, self._seconds, strict=True)
            if size <= rows
        ]
        if not smaller:
            return rows
        cost, size = min(smaller)
        return rows if self.seconds(rows) / rows <= cost * (1 + CLEARLY) else -size
