"""One graph on several threads: a batch is cut into slices that run side by side, a lone row is shared out.

ONNX Runtime shares every operator between the threads of a session, and they wait for each other after each
one. Rows do not depend on each other, so a thread can as well take some of them through the whole graph, and
the threads meet once. For a row alone there is nothing to cut: it takes the session whose operators are
shared (docs/decisions/0010-threads-take-rows.md).
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import wait
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.bundle.manifest import ROWS
from serving.engine.buffer_pool import BufferPool
from serving.engine.thread_pool import DaemonPool

Tensor = npt.NDArray[Any]
Feed = Mapping[str, Tensor]

_LEAST_ROWS = 2  # of a slice
_ENOUGH_ROWS = 4  # of a slice, where there are more slices than threads
_DTYPES = {"tensor(float)": "f4", "tensor(float16)": "f2", "tensor(uint8)": "u1", "tensor(int64)": "i8"}


class RowParallelSession:
    """Stands in for an `onnxruntime.InferenceSession` on the CPU; `run` is for one caller at a time.

    Args:
        shared: a session with as many threads as there are; one that `can_slice`.
        single: one of the same graph with one thread; the same as `shared` where there is one thread.
        threads: how many there are, the caller's among them.
        helpers: runs the slices of the other threads.
        memory: of the outputs.
        most_rows: of a slice; the memory inside the graph grows with them.
    """

    def __init__(
        self,
        shared: Any,
        single: Any,
        threads: int,
        helpers: DaemonPool,
        memory: BufferPool,
        most_rows: int = 1 << 30,
    ) -> None:
        self._shared, self._single, self._threads = shared, single, threads
        self._most_rows = most_rows
        self._helpers, self._memory = helpers, memory
        self._outputs = {value.name: value for value in single.get_outputs()}

    def get_inputs(self) -> Any:
        """As ONNX Runtime has it."""
        return self._shared.get_inputs()

    def get_outputs(self) -> Any:
        """As ONNX Runtime has it."""
        return self._shared.get_outputs()

    def get_providers(self) -> Any:
        """As ONNX Runtime has it."""
        return self._shared.get_providers()

    def run(self, names: Sequence[str], feed: Feed, *options: Any) -> list[Tensor]:
        """Run the graph.

        Args:
            names: of the outputs wanted.
            feed: inputs by name, each [N, ...].
            options: `onnxruntime.RunOptions`, by which the run can be ended, if any.

        Returns:
            The outputs, each [N, ...].
        """
        rows = len(next(iter(feed.values())))
        if rows < _LEAST_ROWS * self._threads or (self._threads == 1 and rows <= self._most_rows):
            outputs: list[Tensor] = self._shared.run(names, feed, *options)
            return outputs
        made = [self._empty(self._outputs[name], rows) for name in names]
        given = {name: np.ascontiguousarray(tensor) for name, tensor in feed.items()}
        slices = iter(row_slices(rows, self._threads, self._most_rows))
        others = [
            self._helpers.submit(partial(self._run_some, slices, given, names, made, options))
            for _ in range(self._threads - 1)
        ]
        try:
            self._run_some(slices, given, names, made, options)
        finally:
            wait(others)  # from here on no thread writes to the outputs
        for other in others:
            other.result()
        return made

    def _run_some(
        self,
        slices: Iterator[slice],
        feed: Feed,
        names: Sequence[str],
        outputs: Sequence[Tensor],
        options: tuple[Any, ...],
    ) -> None:
        """Take slices as long as there are any: a thread that is held up takes fewer."""
        for part in slices:
            binding = self._single.io_binding()
            for name, tensor in feed.items():
                binding.bind_cpu_input(name, tensor[part])
            for name, tensor in zip(names, outputs, strict=True):
                place = tensor[part]
                binding.bind_output(name, "cpu", 0, place.dtype, place.shape, place.ctypes.data)
            self._single.run_with_iobinding(binding, *options)

    def _empty(self, value: Any, rows: int) -> Tensor:
        return self._memory.empty((rows, *value.shape[1:]), _DTYPES[value.type])


def can_slice(session: Any) -> bool:
    """Whether all that a graph takes and puts out are rows whose size is known before it runs."""
    return all(map(_rows_of_known_size, (*session.get_inputs(), *session.get_outputs())))


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


def _rows_of_known_size(value: Any) -> bool:
    """Whether it is a tensor [N, ...] of rows whose size never changes, and no choice of rows."""
    return (
        value.name != ROWS
        and value.type in _DTYPES
        and bool(value.shape)
        and all(isinstance(size, int) for size in value.shape[1:])
    )
