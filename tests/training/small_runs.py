"""Runs small enough for tests: digits, and an MSDNet of one scale and two exits."""

from pathlib import Path

from training.config import FitConfig
from training.fitting.fit import fit
from training.runs.run import Run
from training.runs.start import started

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
