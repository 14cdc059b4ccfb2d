"""The next stage and its number of rows: a pure function of the queues' lengths and ages."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from serving.scheduler.cost import BatchCostCurve


@dataclass(frozen=True, slots=True)
class StageLoad:
    """Rows that wait for a stage, seconds that the first has waited, and seconds that the most urgent can."""

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


def cost_aware(
    loads: Sequence[StageLoad],
    *,
    expected: Callable[[int], BatchCostCurve],
    most_rows: Sequence[int],
    max_age_seconds: float,
    entries: Sequence[int] = (0,),
) -> tuple[int, int]:
    """Run the deepest stage with enough rows to be worth it, or with old ones; else the deepest with any.

    Enough is the smallest batch that costs no more per row than any other. The number of rows that run is the
    one that costs least per row, too. If no batch is worth it, the machine is not full, and the deepest rows
    go first, however few they are: small batches are affordable then, and waiting for more would only
    add latency. Under full load new rows are worth it, and those ahead gather until they are as well, or old.

    Args:
        loads: of every stage.
        expected: what batches of a stage cost.
        most_rows: the largest batch of each stage.
        max_age_seconds: a row that waited longer is old, if that is also longer than full batches of all
            stages take, one after the other: on a busy or slow machine every row waits that long.
        entries: the stages that new rows wait for. They are the shallowest; among themselves the one whose
            first row is older goes first, at the latest when that row is old.

    >>> rates = BatchCostCurve({1: 0.004, 4: 0.010, 8: 0.020})
    >>> choose = partial(cost_aware, expected=lambda stage: rates, most_rows=(8, 8), max_age_seconds=0.1)
    >>> choose([StageLoad(9, 0.01), StageLoad(5, 0.01)])
    (1, 5)
    >>> choose([StageLoad(9, 0.01), StageLoad(3, 0.01)])
    (0, 8)
    >>> choose([StageLoad(3, 0.01), StageLoad(3, 0.01)])
    (1, 3)
    """

    def depth(stage: int) -> tuple[int, float]:
        return (0, loads[stage].oldest_age_seconds) if stage in entries else (stage, 0.0)

    def chosen(stage: int) -> tuple[int, int]:
        return stage, expected(stage).cheapest_rows(min(loads[stage].rows, most_rows[stage]))

    def worth_it(stage: int) -> bool:
        return loads[stage].rows >= min(expected(stage).efficient_rows or most_rows[stage], most_rows[stage])

    deepest_first = sorted((stage for stage, load in enumerate(loads) if load.rows), key=depth, reverse=True)
    if len(deepest_first) == 1:
        return chosen(deepest_first[0])
    ahead = [stage for stage in deepest_first if stage not in entries]
    waiting = [stage for stage in deepest_first if stage in entries]
    if (worth := next(filter(worth_it, ahead), None)) is not None:
        return chosen(worth)
    stages = [stage for stage in range(len(loads)) if stage not in entries[1:]]
    old = max(max_age_seconds, sum(expected(stage).seconds(most_rows[stage]) for stage in stages))
    for stage in (*ahead, *waiting[:1]):
        if loads[stage].oldest_age_seconds > old:
            return chosen(stage)
    return chosen(next(filter(worth_it, waiting), deepest_first[0]))


def deadline_aware(
    loads: Sequence[StageLoad], *, dispatch: Dispatch, seconds: Callable[[int, int], float]
) -> tuple[int, int]:
    """Change what `dispatch` chose where that would make urgent rows late.

    Rows that wait for stage 0 have no answer yet. If a batch of another stage would leave too little time to
    take them all through it, they go first: an answer for all comes before a better one for some.
    And a batch is halved until it does not make its stage's most urgent row late by its size; where no size
    is in time it stays whole, since the urgent row is lost and the others need not suffer.

    Args:
        loads: of every stage.
        dispatch: chooses the stage and the size.
        seconds: how long a stage takes on so many rows (`CostModel.most_seconds`).

    >>> load = StageLoad(8, 0.0, slack_seconds=0.5)
    >>> choose = lambda loads: (len(loads) - 1, loads[-1].rows)
    >>> deadline_aware([load], dispatch=choose, seconds=lambda stage, rows: rows / 10)
    (0, 4)
    >>> deadline_aware([load, StageLoad(8, 0.0)], dispatch=choose, seconds=lambda stage, rows: rows / 20)
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
