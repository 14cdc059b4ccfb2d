"""Rates of alternating rounds, and what their ratios spread over."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """The least, the middle and the largest of a measurement's rounds."""

    low: float
    median: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Spread of one value per round.

        Raises:
            ValueError: there are none.
        """
        if not values:
            raise ValueError("expected at least one round, found none")
        return cls(min(values), statistics.median(values), max(values), len(values))


def ratios(over: Sequence[float], under: Sequence[float]) -> Spread:
    """Spread of the ratios of rounds that were run next to each other.

    A disturbance of the machine slows both sides of a round, and falls out of its ratio.

    Args:
        over: one value per round.
        under: likewise, in the same order.

    Raises:
        ValueError: they are not of one length, or empty.

    >>> ratios([9.0, 20.0], [10.0, 10.0])
    Spread(low=0.9, median=1.45, high=2.0, rounds=2)
    """
    return Spread.of([above / below for above, below in zip(over, under, strict=True)])


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all values do not exceed.

    >>> percentile([4.0, 1.0, 3.0, 2.0], 0.5)
    2.0
    """
    ordered = sorted(values)
    return ordered[max(0, -(-round(share * 1e9) * len(ordered) // 10**9) - 1)]
