"""ONNX Runtime as a backend of the engine."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from serving.engine.backends.interface import Feed, GraphTensor, RunLimit, Tensor
from serving.engine.backends.names import InferencePrecision, RuntimeName
from serving.engine.providers import CPU, CUDA, listed, wanted
from serving.engine.sessions import available_providers, open_session, preload_cuda, run_options

_DTYPES = {"tensor(float)": "f4", "tensor(float16)": "f2", "tensor(uint8)": "u1", "tensor(int64)": "i8"}
_BATCH_TOLERANCE = 1e-4


class OnnxSession:
    """An `onnxruntime.InferenceSession` as a `serving.engine.backends.interface.Session`.

    Args:
        raw: the session.
        ended_by: the run options that can end its runs, while there are such; shared with others.
    """

    def __init__(self, raw: Any, ended_by: list[Any] | None = None) -> None:
        self.raw = raw
        self.inputs = tuple(map(_graph_tensor, raw.get_inputs()))
        self.outputs = tuple(map(_graph_tensor, raw.get_outputs()))
        self.providers = tuple(raw.get_providers())
        self._ended_by = [] if ended_by is None else ended_by

    def run(self, names: Sequence[str], feed: Feed) -> list[Tensor]:
        """Run the graph; see `Session`."""
        outputs: list[Tensor] = self.raw.run(names, feed, *self._ended_by)
        return outputs

    def run_into(self, feed: Feed, outputs: Feed) -> None:
        """Run the graph into arrays; see `Session`."""
        binding = self.raw.io_binding()
        for name, tensor in feed.items():
            binding.bind_cpu_input(name, tensor)
        for name, place in outputs.items():
            binding.bind_output(name, "cpu", 0, place.dtype, place.shape, place.ctypes.data)
        self.raw.run_with_iobinding(binding, *self._ended_by)


class OnnxBackend:
    """ONNX Runtime, with the execution providers to try.

    Args:
        providers: by ONNX Runtime's names, best first; if None, CUDA where there is a GPU, or else the CPU.
    """

    name: Final[RuntimeName] = "onnxruntime"

    def __init__(self, providers: Sequence[str] | None = None) -> None:
        self.precision: InferencePrecision = "float32"
        available = available_providers()
        self.wanted = wanted(providers, available)
        self._tried = listed(self.wanted, available)
        self._ended_by: list[Any] = []
        if CUDA in self._tried:
            preload_cuda()

    def batch_tolerance(self, providers: Sequence[str]) -> float | None:
        """See `Backend`: other hardware than the CPU chooses other algorithms for other sizes."""
        return _BATCH_TOLERANCE if tuple(providers) == (CPU,) else None

    def open(self, model: bytes, threads: int, callers: int = 1) -> OnnxSession:
        """Open a session; any number of threads may run it."""
        return OnnxSession(open_session(model, threads, self._tried), self._ended_by)

    @contextmanager
    def limited(self, seconds: float) -> Iterator[RunLimit]:
        """End runs after these seconds, within an operator too."""
        limit, options = RunLimit(), run_options()

        def end() -> None:
            limit.over = True
            options.terminate = True

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        self._ended_by.append(options)
        try:
            yield limit
        finally:
            timer.cancel()
            self._ended_by.remove(options)


def _graph_tensor(value: Any) -> GraphTensor:
    dtype = np.dtype(_DTYPES[value.type]) if value.type in _DTYPES else None
    return GraphTensor(
        value.name, dtype, tuple(size if isinstance(size, int) else None for size in value.shape)
    )
