"""Schedules over a run: the learning rate within a stage, and the weight of each exit's loss.

Pure functions. Learning-rate schedules take the progress through a stage, 0 at its start and 1 at its end; as
a rule a run is one stage, and the mixed regime has two. Loss weightings take the exits, the epoch and the
epochs.
"""

import math
from collections.abc import Callable

_START, _PEAK = 0.2, 0.23
"""Where the triangle starts, and at which progress it is highest."""


def constant(progress: float) -> float:
    """Return 1."""
    return 1.0


def linear(progress: float) -> float:
    """Return a factor that falls from 1 to 0 in a straight line.

    After a run at a constant rate it is the cooldown of Hägele et al., "Scaling Laws and Compute-Optimal
    Training Beyond Fixed Training Durations", NeurIPS 2024: the length need not be known at the start.

    >>> [linear(p) for p in (0.0, 0.25, 1.0)]
    [1.0, 0.75, 0.0]
    """
    return 1 - progress


def step(progress: float) -> float:
    """Return a factor that falls to a tenth at half and at three quarters of the stage (MSDNet's schedule).

    >>> [round(step(p), 2) for p in (0.0, 0.5, 0.75)]
    [1.0, 0.1, 0.01]
    """
    return 0.1 ** ((progress >= 0.5) + (progress >= 0.75))


def cosine(progress: float) -> float:
    """Return half a cosine, from 1 to 0 (Loshchilov and Hutter, SGDR, ICLR 2017, eq. 5, without restarts)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def triangular(progress: float) -> float:
    """Return a factor that rises from 0.2 to 1 in the first 23% of the stage and falls to 0 in the rest.

    Source: Smith and Topin, "Super-Convergence", 2018, with the start and the peak of airbench (Jordan, "94%
    on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv:2404.00498). Deviation: it ends at 0, there at 0.07.

    >>> [round(triangular(p), 2) for p in (0.0, 0.23, 0.615, 1.0)]
    [0.2, 1.0, 0.5, 0.0]
    """
    if progress < _PEAK:
        return _START + (1 - _START) * progress / _PEAK
    return (1 - progress) / (1 - _PEAK)


def stage(epoch: int, epochs: int, backbone_epochs: int) -> tuple[int, int]:
    """Return the epochs done of the stage that an epoch belongs to, and the stage's length.

    Args:
        epoch: of the run, from 0.
        epochs: length of the run.
        backbone_epochs: length of its first stage; 0 where it has one stage only.

    >>> stage(3, epochs=10, backbone_epochs=0), stage(3, epochs=10, backbone_epochs=2)
    ((3, 10), (1, 8))
    """
    if epoch < backbone_epochs:
        return epoch, backbone_epochs
    return epoch - backbone_epochs, epochs - backbone_epochs


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": constant,
    "linear": linear,
    "step": step,
    "cosine": cosine,
    "triangular": triangular,
}

LossWeighting = Callable[[int, int, int], tuple[float, ...]]


def plain(exits: int, epoch: int, epochs: int) -> tuple[float, ...]:
    """Return 1 for every exit.

    >>> plain(3, epoch=0, epochs=10)
    (1.0, 1.0, 1.0)
    """
    return (1.0,) * exits


def sdn_tau(exits: int, epoch: int, epochs: int) -> tuple[float, ...]:
    """Return τ_j = min(C_j, 0.01 + epoch·C_j/epochs), and 1 for the last exit.

    The early exits' losses grow with the epochs, so that the backbone finds its features before they pull
    at it. C rises in equal steps to 0.9 at the last exit but one: 0.15, 0.3 … 0.9 for seven exits.

    Source: Kaya, Hong, Dumitras, "Shallow-Deep Networks", ICML 2019, with the numbers of its public
    code. Deviation: for another number of exits the steps are equal too, where the source takes each
    exit's share of the full depth's cost.

    Args:
        exits: how many there are.
        epoch: from 0.
        epochs: length of the run.

    >>> [round(weight, 3) for weight in sdn_tau(7, epoch=0, epochs=100)]
    [0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 1.0]
    >>> [round(weight, 3) for weight in sdn_tau(7, epoch=99, epochs=100)]
    [0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.0]
    """
    ceilings = [0.9 * (exit_index + 1) / (exits - 1) for exit_index in range(exits - 1)]
    return (*(min(ceiling, 0.01 + epoch * ceiling / epochs) for ceiling in ceilings), 1.0)


LOSS_WEIGHTINGS: dict[str, LossWeighting] = {"plain": plain, "sdn-tau": sdn_tau}
