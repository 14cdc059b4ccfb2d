"""Learning-rate schedules: pure functions of the progress through a stage, 0 at its start and 1 at its end.

As a rule a run is one stage; the mixed regime has two.
"""

import math
from collections.abc import Callable


def constant(progress: float) -> float:
    """Return 1."""
    return 1.0


def step(progress: float) -> float:
    """Return a factor that falls to a tenth at half and at three quarters of the stage (MSDNet's schedule).

    >>> [round(step(p), 2) for p in (0.0, 0.5, 0.75)]
    [1.0, 0.1, 0.01]
    """
    return 0.1 ** ((progress >= 0.5) + (progress >= 0.75))


def cosine(progress: float) -> float:
    """Return half a cosine, from 1 to 0 (Loshchilov and Hutter, SGDR, ICLR 2017, eq. 5, without restarts)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


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


SCHEDULES: dict[str, Callable[[float], float]] = {"constant": constant, "step": step, "cosine": cosine}
