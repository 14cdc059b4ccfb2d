"""Reads a published checkpoint: a state dict by itself, or within what a training script saved."""

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from training.errors import RunError
from training.models.state_file import load, tensors_in


@dataclass(frozen=True)
class Published:
    """A checkpoint that was read.

    Args:
        tensors: by name, without a wrapper's prefix.
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
        stored = load(path)
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
    try:
        return Published(tensors_in(stored), _epochs(stored), path.name, digest)
    except TypeError as error:
        raise RunError(f"{path}: expected a state dict (tensors by name), found {error}") from error


def _epochs(stored: object) -> int | None:
    last = stored.get("epoch") if isinstance(stored, Mapping) else None
    return last + 1 if isinstance(last, int) and last >= 0 else None  # public code counts from 0
