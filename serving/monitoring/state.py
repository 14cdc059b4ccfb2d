"""Keeps the state of the closed loop on disk, over a restart."""

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import msgspec
from structlog.typing import FilteringBoundLogger

from serving.system.atomic import write_atomically
from serving.system.plain_file import read_plain

_FORMAT = 1
_MOST_BYTES = 4 * 2**20
_MOST_FILES = 10_000


class _Document(msgspec.Struct):
    format: int
    budget_classes: dict[str, dict[str, float]]
    model: str = ""


_DOCUMENT = msgspec.json.Decoder(_Document)


class Stateful(Protocol):
    """A model that has something to remember (`serving.model.Model`)."""

    @property
    def identity(self) -> str:
        """That of its bundle (`serving.bundle.manifest.Manifest.identity`)."""

    def state(self) -> dict[str, dict[str, float]]:
        """The state of its closed loop, as JSON takes it."""

    def restore(self, state: dict[str, dict[str, float]]) -> None:
        """Go on from there; ValueError if it is not of that form."""


class States(Protocol):
    """Keeps the state of models: a folder, or another process that has one."""

    def load(self, model: Stateful, name: str) -> None:
        """Give a model its state back."""

    def save(self, model: Stateful, name: str) -> None:
        """Keep a model's state."""


class StateFolder:
    """One JSON file per bundle, named by the bundle's hash: a new bundle under an old name starts anew.

    The file of the bundle that had the name before is discarded then, which the log says.

    Args:
        folder: where; made if it is not there.
        logger: where a file that cannot be used is named.
    """

    def __init__(self, folder: Path, logger: FilteringBoundLogger) -> None:
        self._folder = folder
        self._logger = logger

    def load(self, model: Stateful, name: str) -> None:
        """Give a model its state back; one that cannot be used is logged, and the model starts without.

        Args:
            model: whose.
            name: of the model, with its version where there are several.
        """
        path = self._path(model)
        self._discard_others(path, name)
        try:
            document = _DOCUMENT.decode(read_plain(path, _MOST_BYTES))
            if document.format != _FORMAT:
                raise ValueError(f"expected format {_FORMAT}, found {document.format}")
            model.restore(document.budget_classes)
        except FileNotFoundError:
            return
        except Exception as error:  # no file, whatever it is, keeps a server from starting
            self._logger.warning("state_unusable", file=path.name, reason=f"{type(error).__name__}: {error}")

    def save(self, model: Stateful, name: str) -> None:
        """Write a model's state, whole or not at all; what goes wrong is logged, and serving goes on."""
        path = self._path(model)
        document = {"format": _FORMAT, "budget_classes": model.state(), "model": name}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(document, allow_nan=False))
        except (OSError, ValueError) as error:
            self._logger.error("state_not_written", file=path.name, reason=str(error))

    def _discard_others(self, path: Path, name: str) -> None:
        """Delete what another bundle of this name had learned."""
        for other in sorted(self._folder.glob("*.json"))[:_MOST_FILES]:
            try:
                if other.name == path.name or _DOCUMENT.decode(read_plain(other, _MOST_BYTES)).model != name:
                    continue
                other.unlink()
            except (OSError, ValueError, msgspec.DecodeError):  # none of ours, or not to be had
                continue
            self._logger.warning("state_discarded", bundle=name, file=other.name, reason="the bundle changed")

    def _path(self, model: Stateful) -> Path:
        return self._folder / f"{model.identity}.json"


class StateKeeper:
    """Saves the state of models every so often, from a thread of its own, and once more when it is closed.

    Args:
        folder: where to.
        models: whose state, by their names; looked at anew each time.
        interval_seconds: between two saves.
    """

    def __init__(self, folder: States, models: Mapping[str, Stateful], interval_seconds: float) -> None:
        self._folder = folder
        self._models = models
        self._interval_seconds = interval_seconds
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="offramp-state", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Save for the last time."""
        self._closing.set()
        self._thread.join()
        self._save()

    def _work(self) -> None:
        while not self._closing.wait(self._interval_seconds):
            self._save()

    def _save(self) -> None:
        for name, model in self._models.items():
            self._folder.save(model, name)
