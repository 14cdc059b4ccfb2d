"""The execution providers of ONNX Runtime to ask for; a session may get fewer."""

import ctypes
import os
from collections.abc import Callable, Sequence
from typing import Literal

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
OPENVINO = "OpenVINO CPU"
"""Stands where ONNX Runtime names its execution providers, for a model that OpenVINO runs."""
ON_THE_CPU = ((CPU,), (OPENVINO,))
"""What a session's providers are where it runs on the CPU alone."""

OPTIONS: dict[str, dict[str, str]] = {
    # The default search tunes again for every new batch size, and compaction makes many.
    CUDA: {"cudnn_conv_algo_search": "HEURISTIC"},
}
"""Options of providers, by name."""
DEVICES = {CUDA: "cuda", TENSORRT: "cuda"}
"""The kind of memory that a provider works in, where that is not the host's."""


DeviceFeatures = Literal["auto", "on", "off"]
"""Whether features stay in that memory between stages; see `serving.engine.device.features_on`."""


def nvidia_gpus() -> int:
    """Number of NVIDIA GPUs of this machine's driver, 0 without a driver; creates no CUDA context."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def wanted(
    asked: Sequence[str] | None, available: Sequence[str], gpus: Callable[[], int] = nvidia_gpus
) -> tuple[str, ...]:
    """The execution providers that a model should run on, best first.

    Args:
        asked: providers by ONNX Runtime's names, best first. Without them it is CUDA where this build of ONNX
            Runtime has it and the machine has a GPU, and the CPU otherwise; TensorRT only where asked for.
        available: what this build of ONNX Runtime has.
        gpus: counts the NVIDIA GPUs.
    """
    if asked:
        return tuple(asked)
    return (CUDA, CPU) if CUDA in available and gpus() else (CPU,)


def listed(
    names: Sequence[str], available: Sequence[str], gpus: Callable[[], int] = nvidia_gpus
) -> tuple[str, ...]:
    """The providers to list for a session: those that can be tried without a block of errors, the CPU last.

    `available` says what ONNX Runtime was built with, not what runs here: trying CUDA or TensorRT on a
    machine without a GPU ends on the CPU too, after loud complaints on the standard streams.

    Args:
        names: what is wanted, best first.
        available: what this build of ONNX Runtime has.
        gpus: counts the NVIDIA GPUs.
    """
    bare = any(name in DEVICES for name in names) and not gpus()
    tried = [name for name in names if name in available and not (bare and name in DEVICES)]
    return (*tried, *(() if CPU in tried else (CPU,)))
