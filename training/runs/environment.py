"""The environment that a run's bits depend on, recorded so that a resumed run can name a change."""

import platform
from importlib.metadata import version
from typing import Any

import torch


def environment(threads: int, workers: int, device: str) -> dict[str, Any]:
    """Return the versions, the machine and the degrees of parallelism that this process computes with."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "torchvision", "numpy", "pillow", "datasets")},
        "machine": platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if device.startswith("cuda") else None,
        "device": device,
        "threads": threads,
        "workers": workers,
    }


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return one sentence per entry that differs; empty where the bits can be promised to be the same.

    >>> differences({"torch": "2.14", "threads": 2}, {"torch": "2.15", "threads": 2})
    ['torch was 2.14, is 2.15']
    """
    names = sorted(then.keys() | now.keys())
    return [f"{n} was {then.get(n)}, is {now.get(n)}" for n in names if then.get(n) != now.get(n)]
