"""One graph on several threads: a batch is cut into slices that run side by side, a lone row is shared out.

A runtime shares every operator between the threads of a session, and they wait for each other after each one.
Rows do not depend on each other, so a thread can as well take some of them through the whole graph, and the
threads meet once. For a row alone there is nothing to cut: it takes the session whose operators are shared
(docs/decisions/0010-threads-take-rows.md).
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import wait
from functools import partial
from itertools import pairwise

import numpy as np

from serving.bundle.manifest import ROWS
from serving.engine.backends.interface import Feed, GraphTensor, Session, Tensor
from serving.engine.buffer_pool import BufferPool
from serving.engine.providers import ON_THE_CPU
from serving.engine.thread_pool import DaemonPool

_LEAST_ROWS = 2  # of a slice
_ENOUGH_ROWS = 4  # of a slice, where there are more slices than threads


class RowParallelSession:
    """A `Session` on the CPU, over two others; `run` is for one caller at a time.

    Args:
        shared: a session with as many threads as there are; one that `can_slice`.
        single: one of the same graph with one thread, for as many callers; `shared` itself where there is
            one thread.
        threads: how many there are, the caller's among them.
        helpers: runs the slices of the other threads.
        memory: of the outputs.
        most_rows: of a slice; the memory inside the graph grows with them.
    """

    def __init__(
        self,
        shared: Session,
        single: Session,
        threads: int,
        helpers: DaemonPool,
        memory: BufferPool,
        most_rows: int = 1 << 30,
    ) -> None:
        self._shared, self._single, self._threads = shared, single, threads
        self._most_rows = most_rows
        self._helpers, self._memory = helpers, memory
        self.inputs, self.outputs, self.providers = shared.inputs, shared.outputs, shared.providers
        self._tensors = {value.name: value for value in single.outputs}

    def run(self, names: Sequence[str], feed: Feed) -> list[Tensor]:
        """Run the graph; see `Session`."""
        rows = len(next(iter(feed.values())))
        if rows < _LEAST_ROWS * self._threads or (self._threads == 1 and rows <= self._most_rows):
            return self._shared.run(names, feed)
        made = {name: self._empty(self._tensors[name], rows) for name in names}
        self.run_into({name: np.ascontiguousarray(tensor) for name, tensor in feed.items()}, made)
        return list(made.values())

    def run_into(self, feed: Feed, outputs: Feed) -> None:
        """Run the graph into arrays, slice by slice; see `Session`."""
        rows = len(next(iter(feed.values())))
        slices = iter(row_slices(rows, self._threads, self._most_rows))
        others = [
            self._helpers.submit(partial(self._run_some, slices, feed, outputs))
            for _ in range(self._threads - 1)
        ]
        try:
            self._run_some(slices, feed, outputs)
        finally:
            wait(others)  # from here on no thread writes to the outputs
        for other in others:
            other.result()

    def _run_some(
        self, slices: Iterator[slice], feed: Mapping[str, Tensor], outputs: Mapping[str, Tensor]
    ) -> None:
        """Take slices as long as there are any: a thread that is held up takes fewer."""
        for part in slices:
            self._single.run_into(
                {name: tensor[part] for name, tensor in feed.items()},
                {name: tensor[part] for name, tensor in outputs.items()},
            )

    def _empty(self, value: GraphTensor, rows: int) -> Tensor:
        return self._memory.empty((rows, *(size or 1 for size in value.shape[1:])), np.dtype(value.dtype))


def can_slice(session: Session) -> bool:
    """Whether a graph on the CPU takes and puts out only rows whose size is known before it runs."""
    on_the_cpu = session.providers in ON_THE_CPU
    return on_the_cpu and all(map(_rows_of_known_size, (*session.inputs, *session.outputs)))


def row_slices(rows: int, threads: int, most_rows: int = 1 << 30) -> list[slice]:
    """Cut a batch into slices of about the same size: two for each thread, where they are large enough.

    With two of them, a thread that lost its core for a while leaves one to another. There are more where a
    slice would have more than `most_rows`.

    >>> [part.stop - part.start for part in row_slices(18, 2)]
    [4, 5, 4, 5]
    >>> [part.stop - part.start for part in row_slices(5, 2)]
    [2, 3]
    >>> [part.stop - part.start for part in row_slices(18, 1, most_rows=7)]
    [6, 6, 6]
    """
    parts = max(threads, min(2 * threads, rows // _ENOUGH_ROWS), -(-rows // most_rows))
    edges = [rows * part // parts for part in range(parts + 1)]
    return [slice(first, last) for first, last in pairwise(edges)]


def _rows_of_known_size(value: GraphTensor) -> bool:
    """Whether it is a tensor [N, ...] of rows whose size never changes, and no choice of rows."""
    return (
        value.name != ROWS
        and value.dtype is not None
        and bool(value.shape)
        and all(size is not None for size in value.shape[1:])
    )
