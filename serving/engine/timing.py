"""Times of segments, measured on this machine: by the least of several runs, since other work only adds."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.engine.providers import CPU
from serving.engine.rest import Rest, no_rest
from serving.engine.sessions import open_session

Clock = Callable[[], float]
Tensors = dict[str, npt.NDArray[Any]]

_REPEATS = 20
"""Measured runs; the first one of all warms up."""


def least_seconds(
    run: Callable[[], object], clock: Clock = time.perf_counter, repeats: int = _REPEATS
) -> float:
    """Return the seconds of the quickest of some runs, after one that is not counted.

    >>> ticks = iter([0.0, 3.0, 3.0, 5.0])
    >>> least_seconds(lambda: None, clock=lambda: next(ticks), repeats=2)
    2.0
    """
    run()
    found = []
    for _ in range(repeats):
        begun = clock()
        run()
        found.append(clock() - begun)
    return min(found)


def least_seconds_in_turn(
    runs: Sequence[Callable[[], object]],
    clock: Clock,
    *,
    rounds: int,
    pause: Rest = no_rest,
    processor: Clock | None = None,
    enough_seconds: float = math.inf,
) -> list[float]:
    """Return the seconds of each of several runs at its quickest; they take turns, so that load hits all.

    Args:
        runs: what is compared.
        clock: in seconds.
        rounds: how often each of them is run.
        pause: called after each run, with its seconds.
        processor: seconds of processor time of this process, which count where they are less: a run on one
            thread that waits for a core is not slower for it.
        enough_seconds: after these, no further round begins.

    >>> ticks = iter([0.0, 3.0, 3.0, 5.0, 5.0, 7.0, 7.0, 10.0])
    >>> least_seconds_in_turn([lambda: None] * 2, lambda: next(ticks), rounds=2)
    [2.0, 2.0]
    """
    best, taken = [math.inf] * len(runs), 0.0
    for _ in range(rounds):
        for place, run in enumerate(runs):
            started, used = clock(), 0.0 if processor is None else processor()
            run()
            seconds = clock() - started
            computed = seconds if processor is None else min(seconds, processor() - used)
            pause(seconds)
            best[place], taken = min(best[place], computed), taken + seconds
        if taken > enough_seconds:
            break
    return best


def graph_seconds(
    graph: bytes, given: Tensors, clock: Clock = time.perf_counter, repeats: int = _REPEATS
) -> tuple[float, Tensors]:
    """Time a segment on one thread.

    Args:
        graph: the bytes of its ONNX file.
        given: its inputs by name.
        clock: in seconds.
        repeats: runs that are measured.

    Returns:
        The least seconds of a run, and the outputs by name.

    Raises:
        EngineError: ONNX Runtime cannot load it.
    """
    session = open_session(graph, 1, [CPU])
    wanted: Sequence[str] = [output.name for output in session.get_outputs()]
    seconds = least_seconds(lambda: session.run(wanted, given), clock, repeats)
    return seconds, dict(zip(wanted, map(np.asarray, session.run(wanted, given)), strict=True))
