"""Pauses between the first runs of a model that is loaded while others answer, so that they get the cores.

A lower priority for the thread would not do: while it waits for a core it may hold Python's global lock, and
with it every other thread of the process.
"""

import time
from collections.abc import Callable

from serving.interfaces import FloatArray, RunStage, Tensors

Rest = Callable[[float], None]
"""Called after a run, with the seconds that it took."""

_TIMES = 3.0
_LONGEST_SECONDS = 1.0


def no_rest(seconds: float) -> None:
    """Go on at once: nobody else needs the cores."""


def rest(seconds: float) -> None:
    """Leave the cores to others for three times as long as they were used, a second at most."""
    time.sleep(min(_TIMES * seconds, _LONGEST_SECONDS))


def resting(run: RunStage, pause: Rest, clock: Callable[[], float] = time.perf_counter) -> RunStage:
    """Return a run that rests after each batch."""

    def rested(stage: int, inputs: Tensors) -> tuple[FloatArray, Tensors]:
        started = clock()
        result = run(stage, inputs)
        pause(clock() - started)
        return result

    return rested
