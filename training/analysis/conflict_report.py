"""Measures how the exits' gradients of a run conflict; writes JSON and heat maps."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from serving.system.atomic import write_atomically
from training.analysis import heat_maps
from training.analysis.config import ConflictConfig
from training.analysis.conflict_matrices import Conflict, plain
from training.analysis.cosines import Floats, mean_cosines, shared_parameters
from training.analysis.grams import expected_grams, mini_batch_grams
from training.data.batches import Data
from training.errors import ConfigError
from training.fitting.fit import method_of, problem_of, untrained
from training.fitting.problem import Progress as PhaseProgress
from training.runs.checkpoint import Checkpoint
from training.runs.devices import use_device
from training.runs.run import Run

FIGURES = {"mini_batch": "mini-batch gradients", "expected": "expected gradients"}
"""The figures, by their keys in `conflict.json`."""


def conflict(run: Run, config: ConflictConfig, out: Path) -> None:
    """Measure `run` and write the results into `out`.

    Raises:
        ConfigError: more epochs than the run has or none to measure in, or exits that share no parameter.
        DataError: the data set cannot be found or has changed.
        RunError: the run has no finished epoch.
    """
    if config.epochs > run.config.epochs:
        raise ConfigError(
            f"--epochs {config.epochs}: expected at most the run's own {run.config.epochs}, whose "
            "learning-rate schedule the copy follows"
        )
    if config.expected_training and not config.epochs:
        raise ConfigError("--expected-training: expected --epochs E as well, for how long a copy is to train")
    epoch = Checkpoint.load(run.checkpoint_path).epoch
    device = use_device(config.device, config.threads)
    data, model = run.data(device=device), run.trainable_model()
    problem = problem_of(run, model, data, device)
    problem.epoch = epoch - 1  # the learning rate of the last epoch done
    shared = shared_parameters(problem.reach)
    if not shared:
        raise ConfigError(f"{run.folder}: no parameter is used by two exits, so that none can conflict")
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]

    def measured(grams: Floats) -> Conflict:
        return Conflict(
            names=[names[index] for index in shared],
            sizes=[problem.parameters[index].numel() for index in shared],
            segments=[int(names[index].split(".")[1]) for index in shared],
            used_by=problem.reach[:, shared].cpu().numpy(),
            grams=grams,
        )

    share = min(1.0, config.batches * data.batch_size / len(data.split.train))
    found: dict[str, Conflict] = {}
    history: list[Moment] = []
    with Progress(console=Console()) as bars:
        bar = bars.add_task("mini-batches", total=data.steps(share))
        found["mini_batch"] = measured(mini_batch_grams(problem, share, lambda: bars.advance(bar)))
        if config.expected:
            problem.on_progress = _TaskBar(bars, len(problem.reach) * data.steps(config.share))
            found["expected"] = measured(expected_grams(problem, config.share))
        if config.epochs:
            bar = bars.add_task("training a copy", total=config.epochs)
            for moment in trained_copy(run, data, config, out, device, share):
                history.append(moment)
                bars.update(bar, completed=moment.epoch)
    name = run.folder.resolve().name
    result = {
        "run": name,
        "epoch": epoch,
        **{key: found[key].to_json() if key in found else None for key in FIGURES},
        "training": [
            {
                "epoch": moment.epoch,
                "cosine": plain(moment.mini_batch),
                "expected": None if moment.expected is None else plain(moment.expected),
            }
            for moment in history
        ],
    }
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "conflict.json", json.dumps(result, indent=1) + "\n")
    _draw(out, name, epoch, found, history)


@dataclass(frozen=True)
class Moment:
    """Cosines [K, K] over all shared parameters after `epoch` whole epochs; None where not measured."""

    epoch: int
    mini_batch: Floats
    expected: Floats | None


def trained_copy(
    run: Run, data: Data, config: ConflictConfig, out: Path, device: str, share: float
) -> Iterator[Moment]:
    """Train a fresh copy of `run` by its own settings, and measure it as it goes."""
    # In another folder there is no checkpoint: the copy starts from what the run started from.
    model = untrained(replace(run, folder=out / "copy"), data)
    problem = problem_of(run, model, data, device)
    how = method_of(run.config, problem)

    def measured(done: int) -> Moment:
        expected = mean_cosines(expected_grams(problem, config.share).sum(1)) if expects else None
        return Moment(done, mean_cosines(mini_batch_grams(problem, share).sum(1)), expected)

    expects = config.expected_training
    yield measured(0)
    for epoch in range(config.epochs):
        problem.epoch = epoch
        how.epoch()
        if (epoch + 1) % config.every == 0 or epoch + 1 == config.epochs:
            yield measured(epoch + 1)


class _TaskBar:
    """Hears how the exits' tasks go."""

    def __init__(self, bars: Progress, steps: int) -> None:
        self._bars, self._bar = bars, bars.add_task("tasks", total=steps)
        self._done: dict[str, int] = {}

    def __call__(self, progress: PhaseProgress) -> None:
        self._done[progress.phase] = progress.step
        steps = sum(self._done.values())
        self._bars.update(self._bar, completed=steps, description=f"task of {progress.phase}")


def _draw(
    out: Path,
    name: str,
    epoch: int,
    found: dict[str, Conflict],
    history: Sequence[Moment],
) -> None:
    wholes = [(FIGURES[key], one.whole) for key, one in found.items()]
    heat_maps.exit_maps(
        out / "whole.png", f"all shared parameters: {name}, epoch {epoch}", wholes, len(wholes)
    )
    for key, one in found.items():
        head = f"{FIGURES[key]}: {name}, epoch {epoch}"
        maps = [(f"segment {index + 1}", values) for index, values in enumerate(one.per_segment)]
        heat_maps.exit_maps(out / f"segments-{key}.png", head, maps, min(4, len(maps)))
        heat_maps.layer_map(out / f"layers-{key}.png", head, one.per_tensor, one.segments)
    kinds = {
        "training": ("mini_batch", [moment.mini_batch for moment in history]),
        "training-expected": ("expected", [m.expected for m in history if m.expected is not None]),
    }
    for file, (key, values) in kinds.items():
        if values:
            title, epochs = f"{FIGURES[key]}: {name}, trained anew", [moment.epoch for moment in history]
            heat_maps.over_training(out / f"{file}.png", title, epochs, np.stack(values))
