"""Variants of Meta-GF beside joint training, at equal epochs and at equal processor time.

    python -m benchmarks.methods.variants ./cifar100 --work /tmp/variants
    python -m benchmarks.methods.variants ./cifar100 --work /tmp/variants --only joint pairs
    python -m benchmarks.methods.variants ./cifar100 --work /tmp/variants --confirm pairs

`./cifar100` is a folder of the parquet shards. A narrow ladder of four exits is trained on 4,096 of
CIFAR-100's training images at 16 pixels, on one thread; `--epochs` of joint training set the budget. At equal
time a variant has as many epochs as the budget holds, by the time that two took in a trial, and its schedule
runs over those. Seconds are the process's processor time in training, without validation and checkpoints.
Accuracy is that of the validation images, which choose among the variants. `--confirm` trains joint training
and the variant that was chosen with three fresh seeds, and takes the test images.

Stop it at any moment: run again, it goes on from the last whole epoch of the run at hand. Each finished run
is a file in WORK/results; OUT.json and OUT.md are written from all of them, earlier calls' too.
"""

import argparse
import copy
import re
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from benchmarks.methods.variant_catalogue import SHARED, VARIANTS, Variant
from benchmarks.methods.variants_page import page
from benchmarks.reporting import publish
from serving.system.atomic import write_atomically
from training.comparison.contenders import read_contender
from training.config import FitConfig
from training.data.batches import Data
from training.evaluation.predict import accuracy_per_exit, predict
from training.fitting.fit import fit
from training.fitting.progress import NoProgress
from training.runs.checkpoint import Checkpoint
from training.runs.environment import environment
from training.runs.run import Run
from training.runs.start import resumed, started

OUT = Path(__file__).parents[2] / "docs" / "results" / "variants"
CONFIRMING_SEEDS = (3, 4, 5)

View = Literal["epochs", "time", "test"]


class Result(BaseModel):
    """The outcome of one run.

    Args:
        view: equal epochs, equal time, or the test images at equal time.
        variant: its name.
        seed: of training.
        epochs: its own, without joint ones before.
        seconds: processor time of training, joint epochs before included.
        accuracy: of the exits, in 0..1.
    """

    model_config = ConfigDict(frozen=True)

    view: View
    variant: str
    seed: int
    epochs: int
    seconds: float
    accuracy: tuple[float, ...]


class Bench:
    """Trains what is missing, in one folder.

    Args:
        work: the folder.
        dataset: folder of CIFAR-100's shards.
        epochs: of joint training, the budget.
    """

    def __init__(self, work: Path, dataset: str, epochs: int) -> None:
        self._work, self._dataset, self._epochs = work, dataset, epochs
        self._data: Data | None = None

    def run(self, name: str, view: View, seed: int) -> None:
        """Train a variant as a view has it, unless its result is there."""
        path = self._work / "results" / f"{view}-{_slug(name)}-{seed}.json"
        if path.exists():
            return
        variant, before = VARIANTS[name], 0.0
        settings: dict[str, Any] = {}
        if variant.joint_share:
            head = round(variant.joint_share * self._epochs)
            trained, _ = self._trained(f"head-{head}-{seed}", "joint", head, seed)
            settings["init_from"], before = trained.folder, _seconds(trained)
        epochs = self._own_epochs(variant, view)
        run_name = f"{'epochs' if view == 'epochs' or name == 'joint' else 'time'}-{_slug(name)}"
        run, data = self._trained(f"{run_name}-{seed}", variant.method, epochs, seed, **settings)
        images = data.test() if view == "test" else data.validation()
        result = Result(
            view=view,
            variant=name,
            seed=seed,
            epochs=epochs,
            seconds=before + _seconds(run),
            accuracy=tuple(accuracy_per_exit(*predict(run.model(), images))),
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, result.model_dump_json() + "\n")
        mean = sum(result.accuracy) / len(result.accuracy)
        print(f"{path.stem}: {100 * mean:.2f}% in {epochs} epochs, {result.seconds:.0f} s", flush=True)

    def results(self) -> Iterator[Result]:
        """Return all results so far."""
        for path in sorted((self._work / "results").glob("*.json")):
            yield Result.model_validate_json(path.read_text())

    def _own_epochs(self, variant: Variant, view: View) -> int:
        """Return a variant's epochs after its joint ones."""
        epochs = (1 - variant.joint_share) * variant.times * self._epochs
        if view == "epochs":
            return round(epochs)
        return max(1, round(epochs * self._epoch_seconds("joint") / self._epoch_seconds(variant.method)))

    def _epoch_seconds(self, method: str) -> float:
        """Time two epochs, and return the quicker one's seconds."""
        folder = read_contender(method).folder_name
        run, _ = self._trained(f"timing/{folder}", method, 2, 0)
        return min(float(record["seconds"]) for record in _history(run))

    def _trained(self, name: str, method: str, epochs: int, seed: int, **settings: Any) -> tuple[Run, Data]:
        entry = read_contender(method)
        config = FitConfig.model_validate(
            {
                **SHARED,
                "dataset": self._dataset,
                "method": entry.method,
                "method_option": dict(entry.method_option),
                **entry.settings,
                "epochs": epochs,
                "seed": seed,
                **settings,
            }
        )
        folder = self._work / "runs" / name
        begun = (folder / "config.json").exists()
        run, opened = resumed(folder, config.stored()) if begun else started(folder, config)
        data = self._shared(opened, seed)
        if not begun or len(_history(run)) < epochs:
            fit(run, data, clock=time.process_time, show=NoProgress)
        return run, data

    def _shared(self, data: Data, seed: int) -> Data:
        """Return the first run's data, decoded once, as a run of another seed shuffles it.

        Epochs are validated on a batch: the accuracy that counts is that of the last one, on all images.
        """
        self._data = self._data or data
        shared = copy.copy(self._data)
        shared.seed = seed
        shared.selection = lambda: islice(shared.validation(), 1)  # type: ignore[method-assign]
        return shared


def _slug(name: str) -> str:
    """Return a name as a part of a path.

    >>> _slug("joint, then fused")
    'joint--then-fused'
    """
    return re.sub(r"[^a-z+]", "-", name)


def _history(run: Run) -> list[dict[str, Any]]:
    return Checkpoint.load(run.checkpoint_path).history if run.checkpoint_path.exists() else []


def _seconds(run: Run) -> float:
    return sum(float(record["seconds"]) for record in _history(run))


def main() -> None:
    """Train, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", help="folder of CIFAR-100's parquet shards")
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs and their results")
    parser.add_argument("--epochs", type=int, default=40, help="of joint training: the budget")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--views", nargs="+", choices=("time", "epochs"), default=["time", "epochs"])
    parser.add_argument("--confirm", choices=VARIANTS, metavar="VARIANT", help="the winner, on test images")
    parser.add_argument("--out", type=Path, default=OUT, help="path of the results without its ending")
    options = parser.parse_args()
    bench = Bench(options.work, options.dataset, options.epochs)
    if options.confirm:
        for seed in CONFIRMING_SEEDS:
            for name in (VARIANTS[options.confirm].against, options.confirm):
                bench.run(name, "test", seed)
    else:
        for seed in options.seeds:
            for name in options.only:
                for view in options.views:
                    if view == "time" or VARIANTS[name].at_equal_epochs:
                        bench.run(name, view, seed)
    results = TypeAdapter(list[Result]).dump_python(list(bench.results()), mode="json")
    variants = {name: asdict(variant) for name, variant in VARIANTS.items()}
    facts = {
        "epochs": options.epochs,
        "settings": {key: str(value) for key, value in SHARED.items()},
        "variants": variants,
        "environment": environment(1, 0, "cpu"),
        "results": results,
    }
    publish(options.out, facts, page(facts))


if __name__ == "__main__":
    main()
