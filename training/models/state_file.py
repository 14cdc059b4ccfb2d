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
        if path.suffix == ".safetensors":
            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, pickle, zipfile and safetensors each raise their own
        raise ConfigError(
            f"{path}: expected a file of weights (a state dict of tensors), found none that can be read "
            f"({str(error).splitlines()[0]})"
        ) from error
    for key in _NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not any(isinstance(value, Tensor) for value in found.values()):
        raise ConfigError(f"{path}: expected a state dict of tensors; found {type(found).__name__}")
    state = {str(key): value for key, value in found.items() if isinstance(value, Tensor)}
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state
