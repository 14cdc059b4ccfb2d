"""Weights in a file as people keep them: a state dict, perhaps in a checkpoint or of a wrapped module."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from training.errors import ConfigError

_NESTED = ("state_dict", "model_state_dict", "model", "net")
_PREFIXES = ("module.", "_orig_mod.")


def state_dict(path: Path) -> dict[str, Tensor]:
    """Read weights, never unpickling code; keys that wrappers put before each name are dropped.

    Raises:
        ConfigError: there are none.
    """
    try:
        found = load(path)
    except Exception as error:  # torch, pickle, zipfile and safetensors each raise their own
        raise ConfigError(
            f"{path}: expected a file of weights (a state dict of tensors), found none that can be read "
            f"({str(error).splitlines()[0]})"
        ) from error
    try:
        return tensors_in(found)
    except TypeError as error:
        raise ConfigError(f"{path}: expected a state dict of tensors; found {error}") from error


def load(path: Path) -> Any:
    """Read safetensors, or what `torch.save` wrote, without running anything; raises what the readers do."""
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def tensors_in(found: Any) -> dict[str, Tensor]:
    """Return the state dict in a checkpoint; keys that wrappers put before each name are dropped.

    Raises:
        TypeError: there is none, with the type of what is there instead.
    """
    for key in _NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not any(isinstance(value, Tensor) for value in found.values()):
        raise TypeError(type(found).__name__)
    state = {str(key): value for key, value in found.items() if isinstance(value, Tensor)}
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state
