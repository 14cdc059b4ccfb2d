"""Learning-rate schedules: pure functions of the progress through a run, 0 at its start and 1 at its end."""

import math
from collections.abc import Callable


def constant(progress: float) -> float:
    """Return 1."""
    return 1.0


def step(progress: float) -> float:
    """Return a factor that falls to a tenth at half and at three quarters of the run (MSDNet's schedule).

    >>> [round(step(p), 2) for p in (0.0, 0.5, 0.75)]
    [1.0, 0.1, 0.01]
    """
    return 0.1 ** ((progress >= 0.5) + (progress >= 0.75))


def cosine(progress: float) -> float:
    """Return half a cosine, from 1 to 0 (Loshchilov and Hutter, SGDR, ICLR 2017, eq. 5, without restarts)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


SCHEDULES: dict[str, Callable[[float], float]] = {"constant": constant, "step": step, "cosine": cosine}
