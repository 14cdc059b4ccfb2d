"""One number for a whole curve: the mean accuracy over all costs between the cheapest exit and full depth.

Legend of shapes: B budgets, N images, K exits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.evaluation.curves import Bools, Floats

RESAMPLES = 1_000


@dataclass(frozen=True)
class Area:
    """A normalised area under a curve of accuracy over FLOPs, in 0..1, with a 95% bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Areas:
    """The areas under both of MSDNet's curves.

    Args:
        budgeted: budgets on average; the curve is joined by straight lines.
        anytime: a computation that is cut off at any moment and answers by the last exit it passed: a step at
            every exit.
    """

    budgeted: Area
    anytime: Area


def areas(
    budgeted_right: Bools, spent_flops: Floats, correct: Bools, exit_flops: Sequence[int], seed: int = 0
) -> Areas:
    """Measure both areas on the same images.

    Source of the curves: Huang et al., "Multi-Scale Dense Networks", ICLR 2018, sections 5.1 and 5.2. The
    bootstrap (Efron, 1979) draws images; costs stay those of all images.

    Args:
        budgeted_right: bool [B, N], whether the answer was right under each budget.
        spent_flops: [B], the mean FLOPs per image under each budget, ascending.
        correct: bool [N, K], whether each exit is right.
        exit_flops: [K], the FLOPs of leaving at each exit.
        seed: of the bootstrap.
    """
    budgeted = _weights_of_lines(np.asarray(spent_flops, np.float64)) @ budgeted_right
    anytime = correct @ _weights_of_steps(np.asarray(exit_flops, np.float64))
    per_image = np.stack([budgeted, anytime], axis=1)  # [N, 2]
    random, images = np.random.default_rng(seed), len(correct)
    means = [per_image[random.integers(0, images, images)].mean(0) for _ in range(RESAMPLES)]
    bounds = np.quantile(means, [0.025, 0.975], axis=0)
    both = (
        Area(float(value), float(low), float(high))
        for value, low, high in zip(per_image.mean(0), *bounds, strict=True)
    )
    return Areas(*both)


def _weights_of_lines(at: Floats) -> Floats:
    """Return what each point counts in the mean of the polyline through them (trapezoidal rule)."""
    steps = np.diff(at)
    if not steps.sum():
        return np.full(len(at), 1 / len(at))
    return np.asarray((np.append(steps, 0) + np.append(0, steps)) / 2 / steps.sum())


def _weights_of_steps(at: Floats) -> Floats:
    """Return what each exit counts: the share of the costs at which it is the last that was passed."""
    if len(at) == 1:
        return np.ones(1)
    return np.asarray(np.append(np.diff(at), 0) / (at[-1] - at[0]))


def area_line(found: Areas) -> str:
    """Say both areas, in percent."""
    parts = (
        f"{name} {100 * area.value:.2f} ({100 * area.low:.2f} to {100 * area.high:.2f})"
        for name, area in (("budgeted", found.budgeted), ("anytime", found.anytime))
    )
    return "mean accuracy % over all costs, with 95% bootstrap intervals: " + ", ".join(parts)
