"""Which stage runs next, and on how many rows: a pure function of how long the queues are and how old."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StageLoad:
    """How many rows wait for a stage, and for how many seconds the first of them has."""

    rows: int
    oldest_age_seconds: float


Dispatch = Callable[[Sequence[StageLoad]], tuple[int, int]]
"""Takes the load of every stage, at least one with rows; returns a stage with rows, and a size from 1 up."""


def deepest_full(loads: Sequence[StageLoad], *, max_batch: int, max_age_seconds: float) -> tuple[int, int]:
    """Run the deepest full batch; else the deepest stage whose first row is old; else the shallowest.

    The shallowest stage is what fills the deeper ones, and runs only when no batch is full and no row is old:
    rows that are ahead cannot starve, and neither can rows behind them, since without it they run out.

    >>> young, old = StageLoad(3, 0.01), StageLoad(1, 0.2)
    >>> deepest_full([young, young, young], max_batch=3, max_age_seconds=0.1)
    (2, 3)
    >>> deepest_full([young, old, young], max_batch=8, max_age_seconds=0.1)
    (1, 1)
    >>> deepest_full([young, young, young], max_batch=8, max_age_seconds=0.1)
    (0, 3)
    """
    deepest_first = [(stage, load) for stage, load in enumerate(loads) if load.rows][::-1]
    for stage, load in deepest_first:
        if load.rows >= max_batch:
            return stage, max_batch
    for stage, load in deepest_first:
        if load.oldest_age_seconds > max_age_seconds:
            return stage, load.rows
    stage, load = deepest_first[-1]
    return stage, load.rows
