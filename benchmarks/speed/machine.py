"""The machine of a measurement."""

import os
from pathlib import Path
from typing import Any

import onnxruntime

from serving.bundle import Bundle


def machine(bundle: Bundle) -> dict[str, Any]:
    """The machine of the measurement."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown",
    )
    flags = Path("/proc/cpuinfo").read_text()
    has = [name for name in ("avx2", "avx512f", "avx512_vnni", "avx_vnni") if f" {name} " in flags]
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "has": has,
        "onnxruntime": onnxruntime.__version__,
        "exit_mflops": [round(flops / 1e6, 2) for flops in bundle.manifest.exit_flops],
    }
