"""Times of segments, measured on this machine: by the least of several runs, since other work only adds."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.engine.providers import CPU
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
