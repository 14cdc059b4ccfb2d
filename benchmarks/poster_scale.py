"""The poster's comparison in as many minutes as there are: MSDNet-7 on CIFAR-100 by five methods.

    python -m benchmarks.poster_scale --minutes 55 --call-minutes 9 --out runs/poster-scale

For a GPU: images stay on the device, bf16, channels-last, large batches; `--compile` for torch's own code.
Two short epochs of each method are timed first. Then every method gets the same number of epochs, as many as
fit into `--minutes` in all, so that every learning-rate schedule comes to its end. The same command goes on
where the last call stopped; each call ends within `--call-minutes`, by whole epochs. When all runs are done,
OUT/report.md has their accuracies beside the poster's Table 1, and OUT/budgeted-epochs.png its Fig. 2.

The poster trained for 300 epochs at batch size 64: the report names every such difference. On a CPU the
command works the same way, and takes hours for what takes a GPU minutes.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from serving.system.atomic import write_atomically
from training.comparison.compare import compare
from training.comparison.config import CompareConfig
from training.comparison.document import write_report
from training.comparison.plan import ComparisonPlan
from training.comparison.runs import PlannedRun
from training.config import FitConfig
from training.errors import ConfigError
from training.fitting.fit import fit
from training.runs.checkpoint import Checkpoint
from training.runs.start import resumed, started

METHODS = ("joint", "ge", "pcgrad", "cagrad", "meta-gf")
MOST_EPOCHS = 300
"""The poster's; more minutes than these take are not used."""

TRIAL_IMAGES, TRIAL_EPOCHS = 5000, 2
POSTER_MEAN = 74.57
"""Percent, mean over the seven exits of Table 1's Meta-GF."""

Clock = Callable[[], float]


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", default="cifar100", help="data set, as training.fit has it")
    parser.add_argument("--minutes", type=float, required=True, help="training time of all runs in all calls")
    parser.add_argument("--call-minutes", type=float, help="end this call by then; --minutes where not given")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--model", default="msdnet")
    parser.add_argument("--model-option", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--lr", type=float, default=0.2)
    parser.add_argument("--precision", choices=("float32", "bf16"), default="bf16")
    parser.add_argument("--compile", action="store_true", help="train the net as torch.compile makes it")
    parser.add_argument("--train-limit", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="CPU threads; all cores where not given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args(argv)


def shared_settings(given: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that all runs share."""
    return {
        "dataset": given.data,
        "model": given.model,
        "model_option": dict(word.split("=", 1) for word in given.model_option),
        "batch_size": given.batch_size,
        "lr": given.lr,
        "schedule": "cosine",
        "nesterov": True,
        "weight_decay": 5e-4,
        "precision": given.precision,
        "compile": given.compile,
        "train_limit": given.train_limit,
        "device": given.device,
        "threads": given.threads,
    }


def epochs_that_fit(seconds: Sequence[float], minutes: float) -> int:
    """Return how many epochs of every method fit, at least one and at most the poster's 300.

    Args:
        seconds: an epoch of each method.
        minutes: for all of them.

    >>> epochs_that_fit([10.0, 50.0], minutes=10)
    10
    """
    return min(MOST_EPOCHS, max(1, int(60 * minutes / sum(seconds))))


def main(argv: Sequence[str] | None = None, clock: Clock = time.monotonic) -> int:
    """Plan, train until the call's time is up, and report when all is done."""
    given, begun = arguments(argv), clock()
    shared = shared_settings(given)
    try:
        plan = _plan(given, shared)
        runs = _runs(given, shared, plan["epochs"])
        until = begun + 60 * (given.call_minutes or given.minutes)
        left = [
            run
            for run, cost in zip(runs, plan["seconds"], strict=True)
            if not _train(run, cost, until, clock)
        ]
        if left:
            names = ", ".join(run.name for run in left)
            sys.stdout.write(f"to go on with: {names}; give the same command again\n")
            return 0
        command = f"python -m benchmarks.poster_scale --minutes {given.minutes:g}"
        report = compare(_config(given, plan["epochs"]), shared, command)
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    write_report(report, given.out)
    for run in runs:
        measured = json.loads((run.folder / "compare.json").read_text())["exit_accuracy"]
        mean = 100 * sum(measured) / len(measured)
        sys.stdout.write(f"{run.name}: mean over exits {mean:.2f}% (the poster's Meta-GF: {POSTER_MEAN})\n")
    return 0


def _config(given: argparse.Namespace, epochs: int) -> CompareConfig:
    return CompareConfig(methods=tuple(given.methods), epochs=epochs, seeds=(given.seed,), out=given.out)


def _runs(given: argparse.Namespace, shared: dict[str, Any], epochs: int) -> list[PlannedRun]:
    return [run for runs in ComparisonPlan(_config(given, epochs), shared).equal_epochs() for run in runs]


def _plan(given: argparse.Namespace, shared: dict[str, Any]) -> dict[str, Any]:
    """Return the epochs, and the seconds that one of each method takes; timed once, and kept."""
    path = given.out / "plan.json"
    asked = {**shared, "methods": given.methods, "minutes": given.minutes, "seed": given.seed}
    if path.exists():
        kept: dict[str, Any] = json.loads(path.read_text())
        changed = sorted(name for name in asked if asked[name] != kept["asked"].get(name))
        if changed:
            raise ConfigError(
                f"{given.out} was begun with other settings ({', '.join(changed)}): give those of the first "
                "call, or another --out"
            )
        return kept
    seconds = [_seconds_per_epoch(run) for run in _runs(given, shared, 1)]
    plan = {"asked": asked, "seconds": seconds, "epochs": epochs_that_fit(seconds, given.minutes)}
    given.out.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(plan, indent=2) + "\n")
    return plan


def _seconds_per_epoch(run: PlannedRun) -> float:
    """Time the second of two epochs on few images: the first compiles, and fills caches."""
    folder = run.folder.parent.parent / "timing" / run.folder.name
    limit = min(TRIAL_IMAGES, run.config.train_limit or TRIAL_IMAGES)
    settings = {**run.config.stored(), "epochs": TRIAL_EPOCHS, "train_limit": limit}
    if (folder / "config.json").exists():
        trial, data = resumed(folder, {})
    else:
        trial, data = started(folder, FitConfig.model_validate(settings))
    fit(trial, data)
    done = Checkpoint.load(trial.checkpoint_path)
    training = [record["seconds"] for record in done.history]
    validating = (done.seconds - sum(training)) / len(training)
    images = run.config.train_limit or len(data.part_labels["train"])
    return float(training[-1] * images / len(data.split.train) + validating)


def _train(run: PlannedRun, epoch_seconds: float, until: float, clock: Clock) -> bool:
    """Train a run while whole epochs fit; tell whether it has come to its end."""
    path = run.folder / "checkpoint.pt"
    done = Checkpoint.load(path) if path.exists() else None
    if done is not None and done.epoch >= run.config.epochs:
        return True
    left = until - clock()
    if left < epoch_seconds:
        return False
    minutes = {"max_minutes": ((done.seconds if done else 0.0) + left) / 60}
    if (run.folder / "config.json").exists():
        begun, data = resumed(run.folder, minutes)
    else:
        begun, data = started(run.folder, run.config.model_copy(update=minutes))
    fit(begun, data)
    return Checkpoint.load(path).epoch >= run.config.epochs


if __name__ == "__main__":
    sys.exit(main())
