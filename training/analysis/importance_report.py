"""Prunes the parameters of large fusion weights, and measures the loss; writes JSON and figures."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress
from torch import nn

from serving.system.atomic import write_atomically
from training.analysis import pruning_figures
from training.analysis.config import ImportanceConfig
from training.analysis.cosines import Floats
from training.analysis.pruning import Pool, Pruned, accuracies_on_the_way, pool_of
from training.data.batches import Data
from training.data.feeds import Batch
from training.errors import ConfigError
from training.evaluation.predict import accuracy_per_exit, predict
from training.fitting.fit import problem_of
from training.methods.meta_gf import MetaGF, MetaGFOptions
from training.runs.checkpoint import Checkpoint
from training.runs.devices import use_device
from training.runs.run import Run


def importance(run: Run, config: ImportanceConfig, out: Path) -> None:
    """Measure `run` and write the results into `out`.

    Raises:
        ConfigError: the run is not one of Meta-GF with a task per exit, or there is no such exit.
        DataError: the data set cannot be found or has changed.
        RunError: the run has no finished epoch.
    """
    if run.config.method != "meta-gf":
        raise ConfigError(
            f"{run.folder}: expected a run of meta-gf, whose fusion weights are read as importance, found "
            f"{run.config.method}"
        )
    checkpoint = Checkpoint.load(run.checkpoint_path)
    options = MetaGFOptions.model_validate(run.config.method_option)
    if options.exits_per_task > 1:
        raise ConfigError(
            f"{run.folder}: expected a fusion weight for every exit, found tasks of "
            f"{options.exits_per_task} exits"
        )
    device = use_device(config.device, config.threads)
    data, model = run.data(batch_size=128, device=device), run.trainable_model()
    problem = problem_of(run, model, data, device)
    how = MetaGF(problem, options)
    how.load_state_dict(checkpoint.method)
    reach = problem.reach.cpu().numpy()
    pools = {k: pool_of(k, problem.parameters, reach, how.weights()) for k in _exits(config, model.exits)}
    if empty := [k + 1 for k, pool in pools.items() if not pool.indices]:
        raise ConfigError(f"{run.folder}: exit {empty[0]} shares no weights with another exit")
    batches = _batches(data, config)
    with Progress(console=Console()) as bars:
        bar = bars.add_task("pruning", total=1 + len(pools) * config.steps * (config.draws + 1))

        def measure() -> list[float]:
            accuracies = accuracy_per_exit(*predict(model, batches))
            bars.advance(bar)
            return accuracies

        whole = measure()
        pruned = [_prune(problem.parameters, k, pool, config, whole, measure) for k, pool in pools.items()]
    name, images = run.folder.resolve().name, sum(len(batch.labels) for batch in batches)
    result = {
        "run": name,
        "epoch": checkpoint.epoch,
        "split": config.split,
        "images": images,
        "granularity": options.granularity,
        "exits": [one.to_json() for one in pruned],
    }
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "importance.json", json.dumps(result, indent=1) + "\n")
    _draw(out, f"{name}, epoch {checkpoint.epoch}, {images:,} {config.split} images", pruned)


def _exits(config: ImportanceConfig, exits: int) -> list[int]:
    chosen = config.exits or tuple(range(1, exits + 1))
    if unknown := [number for number in chosen if not 1 <= number <= exits]:
        raise ConfigError(f"--exits: expected numbers in 1..{exits}, found {unknown[0]}")
    return sorted({number - 1 for number in chosen})


def _batches(data: Data, config: ImportanceConfig) -> list[Batch]:
    """Return the first batches that hold the images asked for; the last one is cut."""
    chosen, left = [], config.images
    for batch in data.test() if config.split == "test" else data.validation():
        chosen.append(Batch(batch.images[:left], batch.labels[:left]))
        left -= len(chosen[-1].labels)
        if left <= 0:
            break
    return chosen


def _prune(
    parameters: Sequence[nn.Parameter],
    exit_index: int,
    pool: Pool,
    config: ImportanceConfig,
    whole: Sequence[float],
    measure: Callable[[], Sequence[float]],
) -> Pruned:
    most, steps = config.max_share * len(pool.group), config.steps
    counts = [round(most * step / steps) for step in range(1, steps + 1)]

    def walk(draw: int, important_first: bool) -> Floats:
        order = pool.order(np.random.default_rng([config.seed, exit_index, draw]), important_first)
        return np.vstack([whole, accuracies_on_the_way(parameters, pool, order, counts, measure)])

    important = walk(0, important_first=True)
    random = np.stack([walk(draw, important_first=False) for draw in range(1, config.draws + 1)])
    return Pruned(exit_index, pool, (0, *counts), important, random)


def _draw(out: Path, title: str, pruned: Sequence[Pruned]) -> None:
    exits = [one.exit_index for one in pruned]
    shares = np.asarray(pruned[0].counts) / len(pruned[0].pool.group)
    important, random = [one.important for one in pruned], [one.random for one in pruned]
    pruning_figures.pruning_curves(out / "pruning.png", title, exits, shares, important, random)
    pruning_figures.harm_map(out / "harm.png", title, exits, np.stack([one.harm for one in pruned]))
