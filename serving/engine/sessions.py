"""Opens ONNX Runtime sessions; everything else gets its sessions, and ONNX Runtime itself, from here.

All sessions of the process share one memory arena. Without one, every run of a stage gets the pages of its
outputs from the system and gives them back: on two Zen 3 cores that cost 15% of MSDNet-7's processor time in
page faults. An arena per session keeps the largest batch of each for good; sessions take turns, so one that
all share is smaller than either (docs/decisions/0007-one-arena-for-all-sessions.md).
"""

import contextlib
import io
import os
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from serving.engine.backends.interface import Session
from serving.engine.fatal_optimizers import fatal_optimizers
from serving.engine.providers import OPTIONS
from serving.errors import EngineError
from serving.system.resources import resources

# Linux builds of ONNX Runtime send telemetry since 1.29 unless it is disabled before the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime


def cores() -> int:
    """Number of cores that this process may use."""
    return resources().cores


def available_providers() -> list[str]:
    """The execution providers that this build of ONNX Runtime has, by its names, best first."""
    return list(onnxruntime.get_available_providers())


def open_session(model: bytes, threads: int, providers: Sequence[str]) -> Any:
    """Open a session on a serialised graph; where a provider is not to be had, the next ones run it.

    Args:
        model: the bytes of the ONNX file; never a path, by which a graph could reach for other files.
        threads: threads that compute; one for each core if 0.
        providers: by ONNX Runtime's names, best first.

    Raises:
        EngineError: ONNX Runtime cannot load it.
    """
    options = _session_options(threads)
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # The sessions take turns: one whose threads go on spinning after its run steals the next one's cores.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    disabled = fatal_optimizers(model)
    for first in range(len(providers)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a fallback; `missing` and `strict` say it better
                # Its own fallback prints a block of errors and then drops all providers but the CPU.
                return _session(model, options, providers[first:], disabled)
        except Exception as error:  # ONNX Runtime's own classes are not public; all mean the same here
            problem = error
    raise EngineError(f"ONNX Runtime {onnxruntime.__version__} cannot load it ({problem})") from problem


def open_strictly(model: bytes, providers: Sequence[str]) -> Any:
    """Open a small graph of our own on one thread, on these providers or not at all.

    Args:
        model: the bytes of the graph.
        providers: by ONNX Runtime's names, best first.
    """
    return _session(model, _session_options(1), providers)


def run_options() -> Any:
    """Make `onnxruntime.RunOptions`: a run that was given them ends when their `terminate` is set."""
    return onnxruntime.RunOptions()


def shrinking_run_options() -> Any:
    """Make `onnxruntime.RunOptions` of a run that gives the arena's free memory back when it ends."""
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def device_tensor(shape: Sequence[int], dtype: str, kind: str) -> Any:
    """Make a tensor in a device's memory, an OrtValue; its content is left open.

    Args:
        shape: of the tensor.
        dtype: by NumPy's name.
        kind: of the device, by ONNX Runtime's name (`cpu`, `cuda`).
    """
    return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.dtype(dtype).type, kind, 0)


def share_arena(options: Any) -> None:
    """Let a session with these `onnxruntime.SessionOptions` take its memory on the CPU from the arena."""
    _register_arena()
    options.add_session_config_entry("session.use_env_allocators", "1")


def preload_cuda() -> None:
    """Make CUDA's libraries known that were installed as Python packages, where no loader looks for them."""
    with contextlib.redirect_stdout(io.StringIO()):  # what it does not find, the session says too
        onnxruntime.preload_dlls()


def common_providers(sessions: Sequence[Session]) -> tuple[str, ...]:
    """The providers that every session got, best first."""
    got = [session.providers for session in sessions]
    return tuple(name for name in got[0] if all(name in names for names in got))


def _session_options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    share_arena(options)
    options.log_severity_level = 3
    return options


def _session(model: bytes, options: Any, providers: Sequence[str], disabled: Sequence[str] = ()) -> Any:
    chosen = [(name, OPTIONS.get(name, {})) for name in providers]
    session = onnxruntime.InferenceSession(
        model, options, providers=chosen, enable_fallback=0, disabled_optimizers=list(disabled)
    )
    # Kept for a fallback that is off: the weights a second time ("this is bad", its own comment says).
    session._model_bytes = None
    return session


@cache
def _register_arena() -> None:
    """Make the arena, once; ONNX Runtime keeps it as long as the process lives."""
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg(0, -1, -1, -1))
