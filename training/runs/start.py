"""The start of a run: all checks come before anything is trained or written."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from serving.command_line import flag
from training.config import RESUMABLE, FitConfig, check_options
from training.data.batches import Data
from training.data.opening import open_data, open_split
from training.data.split import Split
from training.errors import ConfigError, RunError
from training.methods import method_entry, method_options
from training.models.flops import segment_flops
from training.models.registry import Architecture
from training.models.state_file import state_dict
from training.runs.checkpoint import Checkpoint
from training.runs.devices import use_device
from training.runs.environment import environment
from training.runs.run import Run, RunFacts
from training.setup.checks import check_recipe
from training.setup.freezing import check_learning, freeze_layers
from training.setup.init_weights import check_normalisation, fill, pixel_normalisation
from training.setup.transfer import transfer


def started(folder: Path, config: FitConfig, part: tuple[int, int] = (0, 1)) -> tuple[Run, Data]:
    """Check everything that can be checked before training, make the run folder, and open its data.

    Args:
        folder: the run folder.
        config: the run's settings.
        part: which of how many slices of each training batch this process takes.

    Raises:
        ConfigError, DataError, RunError: something does not fit; nothing was written.
    """
    device = use_device(config.device, config.threads)
    settled = checked(config)
    if (folder / "config.json").exists():
        raise RunError(f"{folder} already holds a run: go on with --resume, or choose another --out")
    data = open_data(
        config,
        image_size=settled.image_size,
        batch_size=config.batch_size,
        seed=config.seed,
        device=device,
        rank=part[0],
        ranks=part[1],
    )
    _check_starts(config, tuple(data.classes), data.split, settled)
    facts = RunFacts(
        tuple(data.classes),
        *pixel_normalisation(config, data.mean, data.std),
        data.spec,
        environment(torch.get_num_threads(), config.workers, device),
    )
    return Run.create(folder, config, facts, data.split), data


def resumed(folder: Path, given: dict[str, Any], part: tuple[int, int] = (0, 1)) -> tuple[Run, Data]:
    """Open a run to go on with, and its data.

    Args:
        folder: the run folder.
        given: settings given anew; only those in `RESUMABLE` may differ from the run's own.
        part: which of how many slices of each training batch this process takes.

    Raises:
        ConfigError: another setting was given that differs from the run's own.
        DataError: the data set cannot be found or has changed since.
        RunError: there is no such run.
    """
    run = Run.open(folder)
    if run.facts.converted:
        raise RunError(
            f"{folder} was converted from {run.facts.converted['file']}, without its optimiser: start a new "
            "run with --init-from, and --validation-from test as it has seen every training image"
        )
    config = FitConfig.model_validate({**run.config.stored(), **given})
    device = use_device(config.device, config.threads)
    check_unchanged(run, config)
    run = Run(folder, config, run.facts)
    return run, run.data(device=device, part=part)


def checked(config: FitConfig) -> Architecture:
    """Check the settings that need no data, and return the architecture they ask for.

    Raises:
        ConfigError: an unknown method, model, layer or option, or pretrained weights that cannot be had.
    """
    method_options(config.method, config.method_option)
    starts = {
        "--pretrained": config.pretrained,
        f"--init-from {config.init_from}": config.init_from,
        f"--transfer-from {config.transfer_from}": config.transfer_from,
        f"--init-weights {config.init_weights}": config.init_weights,
    }
    given = [start for start, wanted in starts.items() if wanted]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} both say which weights to start from: leave one out")
    check_normalisation(config)
    settled = config.architecture(config.image_size)
    with torch.device("meta"):
        # A layer that cannot be a cut, an operator without a FLOPs rule, or weights that cannot be had show
        # here, and not after hours of training.
        model = settled.model(classes=2)
        exits = len(segment_flops(model))
        check_recipe(config, model)
    if config.init_weights:
        fill(model, state_dict(Path(config.init_weights).expanduser()), config.init_weights)
    freeze_layers(model, config.freeze)
    check_learning(model, config.freeze)
    check_options(config, exits, config.epochs, method_entry(config.method).stepwise)
    return settled


def check_divide(divide: str, method: str) -> None:
    """Refuse to divide tasks where there are none.

    Raises:
        ConfigError: the method has no tasks.
    """
    if divide == "tasks" and method != "meta-gf":
        raise ConfigError(f"--divide tasks: expected --method meta-gf, whose exits are tasks; found {method}")


def check_unchanged(run: Run, config: FitConfig) -> None:
    """Refuse to go on with `run` under settings that would have made it another run.

    Raises:
        ConfigError: a setting differs that is not in `RESUMABLE`.
    """
    changed = [
        f"{flag(name)} is {getattr(run.config, name)!r}, found {getattr(config, name)!r}"
        for name in FitConfig.model_fields
        if name not in RESUMABLE and getattr(config, name) != getattr(run.config, name)
    ]
    if changed:
        raise ConfigError(
            f"{run.folder} was started with other settings: {'; '.join(changed)}. "
            "Leave them out to go on with the run's own, or start a new one with another --out"
        )


def check_start(config: FitConfig) -> None:
    """Check the run that `--init-from` or `--transfer-from` names, as `started` will; opens no image.

    Raises:
        ConfigError, DataError, RunError: it does not fit, or is not there.
    """
    if config.init_from or config.transfer_from:
        classes, split = open_split(config)
        _check_starts(config, classes, split, checked(config))


def _check_starts(config: FitConfig, classes: tuple[str, ...], now: Split, wanted: Architecture) -> None:
    if config.init_from:
        _check_start(config.init_from, classes, now, wanted)
    if config.transfer_from:
        with torch.device("meta"):
            model = wanted.untrained().model(len(classes))
        start = Run.open(config.transfer_from)
        transfer(model, {n: tensor.to("meta") for n, tensor in start.model().state_dict().items()})
        _check_unseen(f"--transfer-from {config.transfer_from}", start, now)


def _check_start(folder: Path, classes: tuple[str, ...], now: Split, wanted: Architecture) -> None:
    """Refuse a start that does not fit, or that has trained on images which this run judges by."""
    start = Run.open(folder)
    Checkpoint.load(start.checkpoint_path)
    there, here = start.architecture.untrained().describe(), wanted.untrained().describe()
    if there != here:
        differing = sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
        raise ConfigError(f"--init-from {folder}: expected this model, found another {', '.join(differing)}")
    if start.facts.classes != classes:
        raise ConfigError(
            f"--init-from {folder}: expected this data set's {len(classes)} classes, "
            f"found {len(start.facts.classes)} that are not the same"
        )
    _check_unseen(f"--init-from {folder}", start, now)


def _check_unseen(given: str, start: Run, now: Split) -> None:
    """Refuse a start that was trained on images of this data set that this run judges by."""
    seen = Split.load(start.folder / "split.npz")
    if seen.fingerprint == now.fingerprint:
        for part in (now.validation, now.test):
            if part.part == seen.train.part and np.intersect1d(part.rows, seen.train.rows).size:
                raise ConfigError(
                    f"{given}: it was trained on images that this run validates or tests on; "
                    "give both the same --split-seed and --validation-share"
                )
