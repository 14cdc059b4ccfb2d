"""A run folder: the settings, the split, the checkpoint and the logs of one training run.

RUN/config.json      settings, classes, architecture, preprocessing, environment
RUN/split.npz        which image belongs to train, validation and test
RUN/checkpoint.pt    the last whole epoch (weights-only loadable)
RUN/model.safetensors  its weights alone, written when training ends
RUN/original.pt      the weights it began with, where --distil-from original asks for them
RUN/graph.pt         the graph of a network that somebody else's code makes (weights-only loadable)
RUN/metrics.jsonl    one line per epoch
RUN/tensorboard/     the same for TensorBoard
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from serving.images.preprocessing import Preprocessing
from serving.system.atomic import locked, replacing, write_atomically
from training.config import FitConfig
from training.data.batches import Data
from training.data.opening import open_data
from training.data.split import Split
from training.errors import ConfigError, RunError
from training.models.multi_exit import MultiExitModel
from training.models.registry import Architecture
from training.runs.checkpoint import Checkpoint, damaged


@dataclass(frozen=True)
class RunFacts:
    """Facts that a run settled when it started, beyond its settings.

    Args:
        classes: class names, by index.
        mean: channel means of the training images, on the scale 0..1.
        std: channel standard deviations, likewise.
        preprocessing: how images are brought to the model's size.
        environment: see `training.runs.environment`.
        converted: of a checkpoint that was published elsewhere, its file's name, checksum and epochs; None
            where the run was trained here.
        compiling: whether the net is compiled, and why; None where nothing was left to decide, or not yet.
    """

    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    preprocessing: Preprocessing
    environment: dict[str, Any]
    converted: dict[str, Any] | None = None
    compiling: dict[str, Any] | None = None


@dataclass(frozen=True)
class Run:
    """An existing run folder."""

    folder: Path
    config: FitConfig
    facts: RunFacts

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """Read a run's settings.

        Raises:
            RunError: the folder is no run, or one of another version.
        """
        path = folder / "config.json"
        try:
            stored = json.loads(path.read_text())
            facts = stored["facts"]
            return cls(
                folder,
                FitConfig.model_validate(stored["settings"]),
                RunFacts(
                    tuple(facts["classes"]),
                    tuple(facts["mean"]),
                    tuple(facts["std"]),
                    Preprocessing.model_validate(facts["preprocessing"]),
                    facts["environment"],
                    facts.get("converted"),
                    facts.get("compiling"),
                ),
            )
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RunError(
                f"{folder}: not a run folder (no config.json); make one with training.fit --out"
            ) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            raise RunError(f"{path}: not the settings of a run of this version: {reason}") from error

    @classmethod
    def create(cls, folder: Path, config: FitConfig, facts: RunFacts, split: Split) -> "Run":
        """Start a run folder.

        Raises:
            RunError: the folder already holds a run, or cannot be made.
        """
        if (folder / "config.json").exists():
            raise RunError(f"{folder} already holds a run: go on with --resume, or choose another --out")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            run = cls(folder, config, facts)
            with run.held():
                if (folder / "config.json").exists():  # in the meantime
                    raise RunError(f"{folder} already holds a run: choose another --out")
                split.save(folder / "split.npz")
                # config.json is what makes a folder a run, so it comes last.
                run._write()
        except OSError as error:
            raise RunError(f"{folder}: cannot be made: {error.strerror}") from error
        return run

    def _write(self) -> None:
        facts = {**vars(self.facts), "preprocessing": self.facts.preprocessing.model_dump(mode="json")}
        stored = {"settings": self.config.stored(), "facts": facts}
        write_atomically(self.folder / "config.json", json.dumps(stored, indent=2) + "\n")

    @property
    def compiled(self) -> bool | None:
        """Whether the net trains as compiled; None where a trial has to say so first."""
        if self.config.compile != "auto":
            return self.config.compile
        return None if self.facts.compiling is None else bool(self.facts.compiling["compiled"])

    def settle_compiling(self, compiling: dict[str, Any]) -> None:
        """Write down whether the net is compiled, for whoever goes on with the run.

        Args:
            compiling: `compiled`, a truth value, and what else led to it; plain values.
        """
        begun = Run.open(self.folder)  # as it was started, whatever was given to go on with it
        Run(self.folder, begun.config, replace(begun.facts, compiling=compiling))._write()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from writing to the run; until the block or this process ends.

        Raises:
            RunError: another one writes to it.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.folder))
            except BlockingIOError as error:
                raise RunError(
                    f"{self.folder}: another process is training this run: wait for it, or choose another "
                    "--out"
                ) from error
            except OSError as error:
                raise RunError(f"{self.folder}: cannot be opened: {error.strerror}") from error
            yield

    @property
    def checkpoint_path(self) -> Path:
        """Where the last whole epoch is kept."""
        return self.folder / "checkpoint.pt"

    @property
    def original_path(self) -> Path:
        """Where the weights that the run began with are kept, if exits learn from these."""
        return self.folder / "original.pt"

    @property
    def architecture(self) -> Architecture:
        """The model's architecture, as settled when the run started."""
        return self.config.architecture(self.facts.preprocessing.height)

    @property
    def graph_path(self) -> Path:
        """Where the graph of a network of the user's own is kept."""
        return self.folder / "graph.pt"

    def keep_graph(self, model: MultiExitModel) -> str | None:
        """Write what evaluation and export build the model from, where it is made by the user's own code.

        Args:
            model: the run's, on any device.

        Returns:
            A warning where torch.export cannot follow the network.
        """
        if not self.architecture.foreign or self.graph_path.exists():
            return None
        from training.models.graphs.stored_graph import stored  # brings torch.export along, seconds of it

        try:
            with replacing(self.graph_path) as file:
                torch.save(stored(model), file)
        except ConfigError as error:
            return f"warning: evaluation and export will need the network's own code: {error}"
        return None

    def fresh_model(self) -> MultiExitModel:
        """Build the run's model with the weights it starts from, drawn from torch's global generator.

        Once there is a checkpoint, pretrained weights are not fetched any more: it replaces them all.
        """
        begun = self.checkpoint_path.exists()
        architecture = self.architecture.untrained() if begun else self.architecture
        return architecture.model(len(self.facts.classes), self.facts.mean, self.facts.std)

    def model(self) -> MultiExitModel:
        """Return the trained model of the last whole epoch, in evaluation mode, on the CPU.

        A network of the user's own comes from the run's graph, so that the code which made it and the files
        which that read may be gone. It is fit for evaluation mode alone.

        Raises:
            RunError: no epoch is done, or a file is damaged.
        """
        kept = self.graph_path.exists()
        return self._with_weights(self._restored() if kept else self.fresh_model())

    def trainable_model(self) -> MultiExitModel:
        """Return the same model made as the run made it, for gradients in training mode.

        Raises:
            ConfigError: a network of the user's own cannot be made any more.
            RunError: no epoch is done, or the checkpoint is damaged.
        """
        return self._with_weights(self.fresh_model())

    def _restored(self) -> MultiExitModel:
        from training.models.graphs.stored_graph import restored

        try:
            return restored(torch.load(self.graph_path, map_location="cpu", weights_only=True))
        except Exception as error:  # torch's reader raises whatever damage makes it trip over
            raise RunError(
                f"{self.graph_path}: damaged ({str(error).partition(chr(10))[0]}); delete it where the code "
                "of the network is at hand"
            ) from error

    def _with_weights(self, model: MultiExitModel) -> MultiExitModel:
        checkpoint = Checkpoint.load(self.checkpoint_path)
        try:
            model.load_state_dict(checkpoint.model)
        except (RuntimeError, KeyError, TypeError, ValueError) as error:  # weights missing, or of another net
            raise damaged(self.checkpoint_path, error) from error
        return model.eval()

    def data(
        self,
        batch_size: int | None = None,
        device: str = "cpu",
        workers: int | None = None,
        part: tuple[int, int] = (0, 1),
        spec: Preprocessing | None = None,
    ) -> Data:
        """Open the run's data set, divided as it was when the run started.

        Args:
            batch_size: images per batch; the run's own where None.
            device: where batches are wanted.
            workers: loader processes; the run's own where None.
            part: which of how many slices of each training batch is wanted.
            spec: preprocessing in place of the run's own, for images of the same size.

        Raises:
            DataError: the data set cannot be found or has changed since.
        """
        config = self.config if workers is None else self.config.model_copy(update={"workers": workers})
        return open_data(
            config,
            spec=spec or self.facts.preprocessing,
            batch_size=batch_size or self.config.batch_size,
            seed=self.config.seed,
            device=device,
            split=Split.load(self.folder / "split.npz"),
            classes=self.facts.classes,
            rank=part[0],
            ranks=part[1],
        )
