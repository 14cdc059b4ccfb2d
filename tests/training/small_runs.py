"""Runs small enough for tests: digits, and an MSDNet of one scale and two exits."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from training.config import FitConfig
from training.fitting.fit import fit
from training.runs.checkpoint import Checkpoint
from training.runs.run import Run
from training.runs.start import resumed, started

TINY = {
    "dataset": "digits",
    "train_limit": "160",
    "model": "msdnet-tiny",
    "model_option": ["blocks=2", "base=1", "grow_factors=1", "bottleneck_factors=1", "head_channels=8"],
    "threads": "1",
}


def flags(**changed: object) -> list[str]:
    """The flags of a tiny run, with some changed."""
    words: list[str] = []
    for name, value in {**TINY, **changed}.items():
        values = value if isinstance(value, list) else [str(value)]
        words += ["--" + name.replace("_", "-"), *values]
    return words


def config(**changed: object) -> FitConfig:
    """The settings of a tiny run, with some changed."""
    options = dict(word.split("=") for word in TINY["model_option"])
    return FitConfig.model_validate({**TINY, "model_option": options, "epochs": 2, **changed})


def trained(folder: Path, **changed: object) -> Run:
    """Train a tiny run in `folder`."""
    run, data = started(folder, config(**changed))
    fit(run, data)
    return run


def broken(monkeypatch: pytest.MonkeyPatch, folder: Path, epoch: int, **options: object) -> Path:
    """Train a tiny run that dies right after the checkpoint of `epoch`, before anything is logged."""
    save = Checkpoint.save

    def save_and_die(self: Checkpoint, path: Path) -> None:
        save(self, path)
        if self.epoch == epoch:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            trained(folder, **options)
    return folder


def ended(folder: Path) -> Run:
    """Go on with a run to its end."""
    run, data = resumed(folder, {})
    fit(run, data)
    return run


def weights(run: Run) -> dict[str, Any]:
    """The weights of a run's last epoch."""
    return Checkpoint.load(run.checkpoint_path).model


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Say whether two sets of weights are equal to the bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def logged(run: Run) -> list[dict[str, Any]]:
    """A run's records, one per epoch."""
    return [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
