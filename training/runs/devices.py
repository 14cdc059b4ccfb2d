"""Where a run computes, and with how many threads."""

import os

import torch

from serving.system.resources import resources
from training.errors import ConfigError


def use_device(device: str, threads: int | None) -> str:
    """Choose the device, set the threads (where None, all cores it may use), and return the device's name.

    Where torchrun started several processes on this machine, each takes a GPU of its own, or its share of the
    cores.

    Raises:
        ConfigError: no such device here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise ConfigError(f"--device {device}: expected cpu, or cuda where there is a GPU; found none")
    if device == "cuda" and "LOCAL_RANK" in os.environ:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    neighbours = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(threads or max(1, resources().cores // neighbours))
    torch.use_deterministic_algorithms(True, warn_only=True)
    return device
