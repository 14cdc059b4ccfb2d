"""OpenVINO as a backend of the engine: the CPU alone, in float32 or in bfloat16.

A session has as many streams as it may have callers, and each run takes an inference request of its own, so
that none waits for another. Nothing is pinned to a core: models, and processes, share them.
"""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, Final

import numpy as np
import onnx
import openvino

from serving.bundle.graph_checks import parse_model
from serving.engine.backends.interface import Feed, GraphTensor, RunLimit, Tensor
from serving.engine.backends.names import InferencePrecision, RuntimeName
from serving.engine.providers import OPENVINO
from serving.errors import EngineError

_HINTS = {"float32": "f32", "bfloat16": "bf16"}
_BATCH_TOLERANCE = {"float32": 1e-4, "bfloat16": 0.02}
_CAPABILITIES = "OPTIMIZATION_CAPABILITIES"
_DTYPES = {"f32", "f16", "u8", "i64"}


class OpenVinoSession:
    """A compiled model as a `Session`, for as many callers at a time as it has streams.

    Args:
        compiled: an `openvino.CompiledModel`.
        graph: the ONNX graph that it was made of: it knows the names, of which a tensor may have several.
        callers: how many threads may run it at a time.
        running: gets the requests that run, while somebody may end them.
    """

    providers = (OPENVINO,)

    def __init__(self, compiled: Any, graph: onnx.GraphProto, callers: int, running: "_Running") -> None:
        weights = {tensor.name for tensor in graph.initializer}
        named = [value.name for value in graph.input if value.name not in weights]
        self._inputs = {name: _port(name, compiled.inputs) for name in named}
        self._outputs = {value.name: _port(value.name, compiled.outputs) for value in graph.output}
        self.inputs = tuple(_graph_tensor(name, port) for name, port in self._inputs.items())
        self.outputs = tuple(_graph_tensor(name, port) for name, port in self._outputs.items())
        self._running = running
        self._free: SimpleQueue[Any] = SimpleQueue()
        for _ in range(callers):
            self._free.put(compiled.create_infer_request())

    def run(self, names: Sequence[str], feed: Feed) -> list[Tensor]:
        """Run the graph; see `Session`."""
        request = self._free.get()
        try:
            self._infer(request, feed)
            # A copy: the request's own memory is written again by its next run.
            return [np.array(request.get_tensor(self._outputs[name]).data) for name in names]
        finally:
            self._free.put(request)

    def run_into(self, feed: Feed, outputs: Feed) -> None:
        """Run the graph into arrays; see `Session`."""
        request = self._free.get()
        try:
            self._infer(request, feed)
            for name, place in outputs.items():
                place[...] = request.get_tensor(self._outputs[name]).data
        finally:
            self._free.put(request)

    def _infer(self, request: Any, feed: Feed) -> None:
        for name, tensor in feed.items():
            given = np.ascontiguousarray(tensor)
            if not given.flags.writeable:  # which OpenVINO asks of memory that it only reads
                given = given.copy()
            request.set_tensor(self._inputs[name], openvino.Tensor(given, shared_memory=True))
        with self._running.noted(request):
            request.infer()


class _Running:
    """The requests that run, of all sessions of a backend, so that they can be ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[Any] = []
        self.limit: RunLimit | None = None

    @contextmanager
    def noted(self, request: Any) -> Iterator[None]:
        limit = self.limit
        if limit is None:
            yield
            return
        with self._lock:
            if limit.over:
                raise EngineError("the time for the first runs is over")
            self._requests.append(request)
        try:
            yield
        finally:
            with self._lock:
                self._requests.remove(request)

    def end(self, limit: RunLimit) -> None:
        with self._lock:
            limit.over = True
            for request in self._requests:
                request.cancel()


class OpenVinoBackend:
    """OpenVINO's CPU plugin.

    Args:
        precision: what networks in float32 are computed in.

    Raises:
        EngineError: this processor has no bfloat16.
    """

    name: Final[RuntimeName] = "openvino"
    wanted = (OPENVINO,)

    def __init__(self, precision: InferencePrecision = "float32") -> None:
        self.precision = precision
        self._core = _core()
        self._running = _Running()
        if precision == "bfloat16" and not computes_bfloat16(self._core):
            raise EngineError(
                "this processor computes no bfloat16, by OpenVINO's word: it takes one with avx512_bf16 or "
                "AMX; leave --inference-precision away"
            )

    def batch_tolerance(self, providers: Sequence[str]) -> float | None:
        """See `Backend`."""
        return _BATCH_TOLERANCE[self.precision]

    def open(self, model: bytes, threads: int, callers: int = 1) -> OpenVinoSession:
        """Open a session with a stream for each caller."""
        options = {
            "INFERENCE_NUM_THREADS": threads * callers,
            "NUM_STREAMS": callers,
            "INFERENCE_PRECISION_HINT": _HINTS[self.precision],
            "ENABLE_CPU_PINNING": False,
        }
        try:
            compiled = self._core.compile_model(self._core.read_model(model), "CPU", options)
        except Exception as error:  # its classes are not public
            reason = " ".join(str(error).split())[-300:]
            raise EngineError(f"OpenVINO {openvino.__version__} cannot load it ({reason})") from error
        return OpenVinoSession(compiled, parse_model(model).graph, callers, self._running)

    @contextmanager
    def limited(self, seconds: float) -> Iterator[RunLimit]:
        """End runs after these seconds, between two operators; a loop inside one goes on."""
        limit = self._running.limit = RunLimit()
        timer = threading.Timer(seconds, self._running.end, (limit,))
        timer.daemon = True
        timer.start()
        try:
            yield limit
        finally:
            timer.cancel()
            self._running.limit = None


def computes_bfloat16(core: Any | None = None) -> bool:
    """Whether OpenVINO has kernels in bfloat16 for this processor."""
    return "BF16" in (core or _core()).get_property("CPU", _CAPABILITIES)


def _core() -> Any:
    """Make an `openvino.Core` that has loaded its CPU plugin.

    The plugin gives the thread that loads it a signal stack (openvino#11894), and frees this memory when the
    plugin goes. The stack is taken from the thread only if the plugin goes in the same thread, and before
    older ones. Otherwise the next signal that Python handles in that thread, such as SIGCHLD, ends the
    process with a segmentation fault. A thread that has ended gets no signals.
    """

    def make() -> Any:
        core = openvino.Core()
        core.get_property("CPU", _CAPABILITIES)
        return core

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make).result()


def _port(name: str, ports: Sequence[Any]) -> Any:
    return next(port for port in ports if name in port.names)


def _graph_tensor(name: str, port: Any) -> GraphTensor:
    shape = port.get_partial_shape()
    kind = port.get_element_type()
    dtype = np.dtype(kind.to_dtype()) if kind.get_type_name() in _DTYPES else None
    sizes = tuple(size.get_length() if size.is_static else None for size in shape)
    return GraphTensor(name, dtype, sizes)
