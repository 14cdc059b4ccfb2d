"""What this machine has: execution providers that can work, and GPUs."""

import shutil
import subprocess
from collections.abc import Sequence

from serving.engine.providers import CPU, CUDA, DEVICES, TENSORRT

CHAINS: dict[str, tuple[str, ...]] = {CPU: (CPU,), CUDA: (CUDA, CPU), TENSORRT: (TENSORRT, CUDA, CPU)}
"""The providers that are asked for together: each leaves to the next what it cannot run."""


def absence(provider: str, available: Sequence[str], gpus: int) -> str | None:
    """Say why a provider cannot be tried here; None where it can.

    Args:
        provider: by ONNX Runtime's name.
        available: what this build of ONNX Runtime has.
        gpus: how many the driver shows.
    """
    if provider not in available:
        return "this build of ONNX Runtime does not have it"
    if provider in DEVICES and not gpus:
        return "the driver shows no NVIDIA GPU"
    return None


def gpu_names() -> list[str]:
    """Return name and driver of every NVIDIA GPU, by `nvidia-smi`; none where there is no such tool."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.splitlines() if found.returncode == 0 else []
