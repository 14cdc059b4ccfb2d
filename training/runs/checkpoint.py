"""One checkpoint file per run, replaced atomically: a run killed at any moment keeps the last whole epoch."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from serving.atomic import replacing
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
        averaged: how many weights `model` is the average of; 0 where it is none.
    """

    epoch: int
    model: dict[str, Any]
    method: dict[str, Any]
    history: list[dict[str, Any]]
    seconds: float
    trained: dict[str, Any] | None = None
    averaged: int = 0

    def save(self, path: Path) -> None:
        """Write the checkpoint so that `path` holds either the old one or this one, whole."""
        with replacing(path) as file:
            torch.save({name: getattr(self, name) for name in self.__dataclass_fields__}, file)

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """Read a checkpoint, without running anything that its file might hold.

        Raises:
            RunError: the file is missing or damaged.
        """
        try:
            return cls(**torch.load(path, map_location="cpu", weights_only=True))
        except FileNotFoundError as error:
            raise RunError(
                f"{path.parent}: no checkpoint yet; expected {path.name}: train at least one epoch"
            ) from error
        except (RuntimeError, TypeError, EOFError, OSError, pickle.UnpicklingError) as error:
            raise RunError(
                f"{path}: not a checkpoint of this version, or damaged ({type(error).__name__}); "
                "train the run again"
            ) from error
