"""`--processes auto`: how many processes a network and a machine call for.

A process has one interpreter. Whatever the number of its cores, the Python around a request runs one request
at a time, and so does the scheduler between two stages. A process per core therefore answers the most
requests, but a lone request then has one core, and every process holds the weights.

- Where an image costs little on one core, that is no loss: one process per core.
- Where it costs much, a process gets as many cores as its Python can feed, so that a lone request is spread
  over them.
"""

import math

PYTHON_SECONDS = 0.0006
"""Seconds for which a request holds the interpreter (docs/scaling.md has the measurement)."""
CHEAP_SECONDS = 0.01
"""An image that costs no more than this on one core need not be spread over several."""
MOST_BUSY = 0.5
"""The share of its time that an interpreter may be needed; beyond it threads queue for it."""
MOST_CORES = 8
"""Of one process: it runs one stage at a time, whose batch leaves few rows to each of more threads."""
MOST_MEMORY = 0.7
"""The share of the memory that all processes may take."""


def process_count(
    cores: int,
    image_seconds: float,
    *,
    python_seconds: float = PYTHON_SECONDS,
    memory_bytes: int | None = None,
    process_bytes: int | None = None,
) -> int:
    """Return how many processes to start.

    Args:
        cores: that the server may use, 1 or more.
        image_seconds: that the dearest model takes for an image through all stages, on one core.
        python_seconds: that a request holds the interpreter.
        memory_bytes: that the server may use; None where nobody knows.
        process_bytes: that one process occupies once its models are loaded; None where nobody knows.

    >>> process_count(16, image_seconds=0.002), process_count(16, image_seconds=0.08)
    (16, 2)
    >>> process_count(16, image_seconds=0.002, memory_bytes=4 * 2**30, process_bytes=2**30)
    2
    """
    if image_seconds <= CHEAP_SECONDS:
        wanted = cores
    else:
        busy = cores * python_seconds / (python_seconds + image_seconds)  # of one interpreter for all cores
        wanted = max(math.ceil(busy / MOST_BUSY), math.ceil(cores / MOST_CORES))
    if memory_bytes is not None and process_bytes:
        wanted = min(wanted, int(MOST_MEMORY * memory_bytes / process_bytes))
    return max(1, min(wanted, cores))
