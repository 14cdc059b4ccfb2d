"""Which alternatives are worth their cost: the frontier, and where leaving early beats single networks.

Alternatives are compared on the same images, so a difference has the standard error of paired answers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from training.evaluation.curves import Bools

Precision = Literal["float32", "float16", "int8"]
Kind = Literal["network", "cascade", "exits", "bundle"]

KEPT = 1.02
"""A budget is kept on average; what costs up to 2% more on the images at hand counts as kept."""

SURE = 2.0
"""Standard errors from which a difference is one."""


@dataclass(frozen=True, eq=False)
class Measured:
    """One alternative under one budget.

    Args:
        title: of the alternative, precision left out.
        bundle: the name of its bundle.
        kind: what it is.
        precision: of its segments.
        budget_flops: that was asked for, per image; None where there is but one exit.
        spent_flops: per image, on average.
        mean_ms: of a single image's request, on average.
        p95_ms: the time within which 95% of these are answered.
        images_per_second: of requests with many images, one after the other.
        shares: of the images that left at each exit, [K].
        right: bool [N], whether each image was answered rightly.
    """

    title: str
    bundle: str
    kind: Kind
    precision: Precision
    budget_flops: float | None
    spent_flops: float
    mean_ms: float
    p95_ms: float
    images_per_second: float
    shares: tuple[float, ...]
    right: Bools

    @property
    def accuracy(self) -> float:
        """Return the share of right answers."""
        return float(self.right.mean())

    @property
    def exits(self) -> int:
        """Return how many exits there are."""
        return len(self.shares)

    def __str__(self) -> str:
        return f"{self.title}, {self.precision}"


Cost = Callable[[Measured], float]


@dataclass(frozen=True)
class Gain:
    """What one alternative gets more right than another on the same images.

    Args:
        mean: in accuracy.
        error: its standard error.
    """

    mean: float
    error: float

    @property
    def better(self) -> bool:
        """Say whether it is more than chance explains."""
        return self.mean > SURE * self.error

    @property
    def worse(self) -> bool:
        """Say whether it is less than chance explains."""
        return self.mean < -SURE * self.error


def gain(some: Measured, other: Measured) -> Gain:
    """Compare two alternatives image by image."""
    apart = some.right.astype(np.float64) - other.right
    return Gain(float(apart.mean()), float(apart.std() / np.sqrt(len(apart))))


def frontier(points: Sequence[Measured], cost: Cost) -> list[Measured]:
    """Return those that no other beats: nothing that costs as little gets as much right, by cost rising."""
    kept: list[Measured] = []
    for point in sorted(points, key=lambda point: (cost(point), -point.accuracy)):
        if not kept or point.accuracy > kept[-1].accuracy:
            kept.append(point)
    return kept


def best_within(points: Sequence[Measured], cost: Cost, limit: float) -> Measured | None:
    """Return what gets most right at no more than a cost, the cheapest of equals; None where nothing does."""
    return max(
        (point for point in points if cost(point) <= limit),
        key=lambda point: (point.accuracy, -cost(point)),
        default=None,
    )


def single(points: Sequence[Measured]) -> list[Measured]:
    """Return the single networks, which leave nothing early."""
    return [point for point in points if point.kind == "network"]


@dataclass(frozen=True)
class Verdict:
    """One point of an alternative that leaves early, held against the single networks.

    Args:
        point: the point.
        rival: the best single network that costs no more; None where there is none.
        gain: over that; None likewise.
    """

    point: Measured
    rival: Measured | None
    gain: Gain | None


def verdicts(points: Sequence[Measured], rivals: Sequence[Measured], cost: Cost) -> list[Verdict]:
    """Hold points against the best single network of the same cost, by cost rising.

    Args:
        points: of one alternative.
        rivals: the single networks, in all precisions.
        cost: by which they are compared.
    """
    found = []
    for point in sorted(points, key=cost):
        rival = best_within(rivals, cost, cost(point) * KEPT)
        found.append(Verdict(point, rival, None if rival is None else gain(point, rival)))
    return found
