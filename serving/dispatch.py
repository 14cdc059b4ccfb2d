"""Which stage runs next, and on how many rows: a pure function of how long the queues are and how old."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial


@dataclass(frozen=True, slots=True)
class StageLoad:
    """How many rows wait for a stage, for how many seconds the first of them has, and the most urgent can."""

    rows: int
    oldest_age_seconds: float
    slack_seconds: float = math.inf


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


DEFAULT_DISPATCH: Dispatch = partial(deepest_full, max_batch=32, max_age_seconds=0.05)


def in_time(
    loads: Sequence[StageLoad], *, dispatch: Dispatch, seconds: Callable[[int, int], float]
) -> tuple[int, int]:
    """Change what `dispatch` chose where that would make urgent rows late.

    Rows that wait for stage 0 have no answer yet. If a batch of another stage would leave too little time to
    take them all through it, they go first: an answer for everybody comes before a better one for somebody.
    And a batch is halved until it does not make its stage's most urgent row late by its size; where no size
    is in time it stays whole, since the urgent row is lost and the others need not suffer.

    Args:
        loads: of every stage.
        dispatch: chooses the stage and the size.
        seconds: how long a stage takes on so many rows (`CostModel.seconds`).

    >>> load = StageLoad(8, 0.0, slack_seconds=0.5)
    >>> choose = lambda loads: (len(loads) - 1, loads[-1].rows)
    >>> in_time([load], dispatch=choose, seconds=lambda stage, rows: rows / 10)
    (0, 4)
    >>> in_time([load, StageLoad(8, 0.0)], dispatch=choose, seconds=lambda stage, rows: rows / 20)
    (0, 8)
    """
    stage, size = dispatch(loads)
    first = loads[0]
    if stage and first.rows and seconds(stage, size) + seconds(0, first.rows) > first.slack_seconds:
        stage, size = dispatch(loads[:1])
    smaller = size
    while smaller > 1 and seconds(stage, smaller) > loads[stage].slack_seconds:
        smaller //= 2
    fits = seconds(stage, smaller) <= loads[stage].slack_seconds
    return stage, smaller if fits else size
