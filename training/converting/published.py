"""Reads a published checkpoint: a state dict by itself, or within what a training script saved."""

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from training.errors import RunError

_WITHIN = ("state_dict", "model_state_dict", "model")
_WRAPPER = "module."
"""DataParallel's prefix."""


@dataclass(frozen=True)
class Published:
    """A checkpoint that was read.

    Args:
        tensors: by name, without DataParallel's prefix.
        epochs: that it was trained for, where the file tells.
        file: its name.
        sha256: of the file.
    """

    tensors: dict[str, Tensor]
    epochs: int | None
    file: str
    sha256: str


def read(path: Path) -> Published:
    """Read `path`: safetensors, or what `torch.save` wrote; nothing in it is run.

    Raises:
        RunError: it is not there, cannot be read, holds more than tensors and plain values, or no state dict.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        stored = _load(path)
    except OSError as error:
        raise RunError(f"{path}: expected a checkpoint, found none: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0][:200]
        raise RunError(
            f"{path}: expected tensors and plain values, found what would have to be run ({reason}); save "
            "model.state_dict() alone, where you trust the file"
        ) from error
    except Exception as error:  # the readers raise whatever damage makes them trip over
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise RunError(f"{path}: expected a checkpoint of torch or safetensors: {reason}") from error
    return Published(*_state_dict(stored, path), path.name, digest)


def _load(path: Path) -> object:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _state_dict(stored: object, path: Path) -> tuple[dict[str, Tensor], int | None]:
    epochs = None
    if isinstance(stored, Mapping):
        last = stored.get("epoch")
        epochs = last + 1 if isinstance(last, int) and last >= 0 else None  # public code counts from 0
        stored = next((stored[name] for name in _WITHIN if isinstance(stored.get(name), Mapping)), stored)
    if not isinstance(stored, Mapping) or not any(map(torch.is_tensor, stored.values())):
        raise RunError(f"{path}: expected a state dict (tensors by name), found {type(stored).__name__}")
    tensors = {str(name): value for name, value in stored.items() if torch.is_tensor(value)}
    return {name.removeprefix(_WRAPPER): value for name, value in tensors.items()}, epochs
