"""Means with intervals, of numbers that are seen once and not kept."""

import math
from dataclasses import dataclass

Interval = tuple[float, float]

_Z = 1.959964  # of 95%


@dataclass
class Moments:
    """How many numbers there were, their mean, and the sum of squared distances from it (Welford, 1962)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        """Take in a number."""
        self.count += 1
        before = value - self.mean
        self.mean += before / self.count
        self.squares += before * (value - self.mean)

    def __add__(self, other: "Moments") -> "Moments":
        """Return the moments of both lots of numbers (Chan, Golub and LeVeque, 1979).

        >>> parts = [Moments(), Moments()]
        >>> for place, value in enumerate((1.0, 2.0, 3.0, 6.0)):
        ...     parts[place % 2].add(value)
        >>> parts[0] + parts[1]
        Moments(count=4, mean=3.0, squares=14.0)
        """
        count = self.count + other.count
        if not count:
            return Moments()
        apart = other.mean - self.mean
        return Moments(
            count,
            self.mean + apart * other.count / count,
            self.squares + other.squares + apart * apart * self.count * other.count / count,
        )

    @property
    def error(self) -> float:
        """The standard error of the mean; infinite with fewer than two numbers."""
        return math.sqrt(self.squares / (self.count - 1) / self.count) if self.count > 1 else math.inf


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95% interval by the normal approximation; None where there are too few numbers."""

    mean: float | None
    interval: Interval | None


def estimate(moments: Moments) -> Estimate:
    """Return the mean of some numbers.

    >>> moments = Moments()
    >>> for value in (1.0, 2.0, 3.0, 4.0):
    ...     moments.add(value)
    >>> estimate(moments).mean, [round(end, 2) for end in estimate(moments).interval]
    (2.5, [1.23, 3.77])
    """
    return _estimate(moments.mean if moments.count else None, moments.error)


def difference(first: Moments, second: Moments) -> Estimate:
    """Return the mean of the second less that of the first, of numbers that are independent of each other."""
    if not (first.count and second.count):
        return Estimate(None, None)
    return _estimate(second.mean - first.mean, math.hypot(first.error, second.error))


def _estimate(mean: float | None, error: float) -> Estimate:
    if mean is None or math.isinf(error):
        return Estimate(mean, None)
    return Estimate(mean, (mean - _Z * error, mean + _Z * error))
