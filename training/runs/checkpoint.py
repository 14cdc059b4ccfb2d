"""One checkpoint file per run, replaced atomically: a run killed at any moment keeps the last whole epoch.

The file is the zip archive that torch writes, with a comment at its end: the SHA-256 of all before it.
A bit that flips in an archive's weights is not noticed otherwise. Files without a comment were written before
there was one, and are read as they are.
"""

import hashlib
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from serving.system.atomic import replacing
from training.errors import RunError


@dataclass(frozen=True)
class Checkpoint:
    """Everything that the next epoch depends on, and what the logs hold so far.

    Args:
        epoch: how many epochs are done.
        model: the parameters and buffers that are validated and exported.
        method: the method's state.
        history: one record per epoch done.
        seconds: training time so far.
        trained: the parameters and buffers that training goes on from; None where they are `model`.
        averaged: how many weights `model` is the average of, 0 where it is none; None in files written before
            they were counted.
    """

    epoch: int
    model: dict[str, Any]
    method: dict[str, Any]
    history: list[dict[str, Any]]
    seconds: float
    trained: dict[str, Any] | None = None
    averaged: int | None = None

    def save(self, path: Path) -> None:
        """Write the checkpoint so that `path` holds either the old one or this one, whole.

        Raises:
            RunError: it cannot be written; the one before is as it was.
        """
        _save(path, {name: getattr(self, name) for name in self.__dataclass_fields__})

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """Read a checkpoint, without running anything that its file might hold.

        Raises:
            RunError: the file is missing or damaged.
        """
        try:
            checkpoint = cls(**_load(path))
            checkpoint.check()
        except FileNotFoundError as error:
            raise RunError(
                f"{path.parent}: no checkpoint yet; expected {path.name}: train at least one epoch"
            ) from error
        except Exception as error:  # torch's reader raises whatever damage makes it trip over
            raise damaged(path, error) from error
        return checkpoint

    def check(self) -> None:
        """Hold what was read against what a checkpoint is.

        Raises:
            ValueError: it is something else.
        """
        weights = (self.model, *([] if self.trained is None else [self.trained]))
        if not all(isinstance(part, dict) and all(map(torch.is_tensor, part.values())) for part in weights):
            raise ValueError("expected tensors by name")
        if not isinstance(self.method, dict) or not isinstance(self.history, list):
            raise ValueError("expected a method's state and a list of epochs")
        if type(self.epoch) is not int or self.epoch < 1:
            raise ValueError(f"expected a number of epochs, found {self.epoch!r}")
        if not all(isinstance(record, dict) for record in self.history) or not self.seconds >= 0:
            raise ValueError("expected records of epochs, and the seconds they took")
        if self.averaged is not None and (type(self.averaged) is not int or self.averaged < 0):
            raise ValueError(f"expected how many weights were averaged, found {self.averaged!r}")


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write parameters and buffers alone, sealed as a checkpoint is.

    Raises:
        RunError: they cannot be written.
    """
    _save(path, state)


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote.

    Raises:
        RunError: it is missing or damaged.
    """
    try:
        return _load(path)
    except FileNotFoundError as error:
        raise RunError(f"{path}: is missing; copy it from a backup, or train the run again") from error
    except Exception as error:  # torch's reader raises whatever damage makes it trip over
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> RunError:
    """The one error for a checkpoint that cannot be used, whatever is wrong with it."""
    reason = str(error).splitlines()[0][:200] if str(error) else "no more is known"
    return RunError(
        f"{path}: not a checkpoint of this version, or damaged ({type(error).__name__}: {reason}); "
        "copy it from a backup, or train the run again"
    )


def _save(path: Path, values: dict[str, Any]) -> None:
    try:
        with replacing(path) as file:
            torch.save(values, file)
            _seal(file)
    except (OSError, RuntimeError) as error:  # torch makes a RuntimeError of some
        reason = error.strerror if isinstance(error, OSError) else str(error.__cause__ or error)
        raise RunError(f"{path}: cannot be written: {reason}; make room, and go on with --resume") from error


def _load(path: Path) -> dict[str, Any]:
    _check(path)
    values: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return values


_MAGIC = b"offramp sha256 "
_COMMENT_BYTES = len(_MAGIC) + hashlib.sha256().digest_size
_END = b"PK\x05\x06"
_END_BYTES = 22  # of a zip archive's last record, without its comment


def _seal(file: BinaryIO) -> None:
    """Give an archive that was just written its comment."""
    file.flush()
    with Path(file.name).open("r+b") as again:
        again.seek(-2, 2)
        again.write(_COMMENT_BYTES.to_bytes(2, "little"))
        again.seek(0)
        digest = hashlib.file_digest(again, "sha256").digest()
        again.seek(0, 2)
        again.write(_MAGIC + digest)


def _check(path: Path) -> None:
    """Hold an archive against its comment, if it has one.

    Raises:
        ValueError: they do not fit, or it is no whole archive.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[-_END_BYTES : -_END_BYTES + 4] == _END and data[-2:] == b"\0\0":
            return  # written before there was a checksum
        place = len(data) - _COMMENT_BYTES
        if place < _END_BYTES or data[place : place + len(_MAGIC)] != _MAGIC:
            raise ValueError("its end is missing")
        with memoryview(data) as view, view[:place] as covered:
            found = hashlib.sha256(covered).digest()
        if found != data[place + len(_MAGIC) :]:
            raise ValueError("its checksum does not fit")
