"""Two processes on one run, as torchrun starts them, over gloo."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.training.small_runs import config, flags, trained
from training.data.batches import Data
from training.fitting.fit import fit, untrained
from training.fitting.parallel import tensors_in
from training.fitting.problem import Recipe, TrainingProblem
from training.methods import method
from training.methods.interface import Batch
from training.runs.checkpoint import Checkpoint
from training.runs.start import resumed, started
from training.schedules import constant

TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
RUNS = "tests.integration.several_runs"
METHODS = ("joint", "ge", "pcgrad", "cagrad", "torchjd:UPGrad", "meta-gf")


BY_TASKS: dict[str, dict[str, object]] = {
    "tasks": {},
    "momenta": {
        "method_option": {"task_batches": "2", "task_momentum": "true", "outer_momentum": "0.5"},
        "batch_size": 16,
    },
}
"""Settings of runs whose tasks two processes divide."""


def settings(method: str) -> dict[str, object]:
    """A short run whose batches two processes divide."""
    return {"method": method, "epochs": 1, "batch_size": 16, "train_limit": 64, "schedule": "constant"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two processes: one per method, one to go on with alone, one resumed by tasks; and `drift`."""
    folder = tmp_path_factory.mktemp("two")
    stopped = [trained(folder / name, **how, max_minutes=1e-9) for name, how in BY_TASKS.items()]
    assert [Checkpoint.load(run.checkpoint_path).epoch for run in stopped] == [1, 1]
    runs = [[*flags(**settings(name)), "--out", str(folder / name)] for name in METHODS]
    words = flags(**{**settings("pcgrad"), "epochs": 2, "max_minutes": 1e-9})
    runs.append([*words, "--out", str(folder / "halfway")])
    by_tasks = ["--resume", "--divide", "tasks", "--max-minutes", "60"]
    runs += [["--out", str(run.folder), *by_tasks] for run in stopped]
    (folder / "drifting").mkdir()
    words = [*TWO, "-m", RUNS, json.dumps(runs), str(folder / "drifting")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", BY_TASKS)
def test_divided_tasks_end_with_the_weights_of_one_process(name: str, place: Path, tmp_path: Path) -> None:
    alone = Checkpoint.load(trained(tmp_path / "alone", **BY_TASKS[name]).checkpoint_path)

    # The second epoch was that of two processes: a run goes on with another number of them.
    two = Checkpoint.load(place / name / "checkpoint.pt")

    assert two.epoch == 2
    assert all(torch.equal(two.model[name], value) for name, value in alone.model.items())
    assert all(torch.equal(a, b) for a, b in zip(*map(tensors_in, (two.method, alone.method)), strict=True))
    assert len((place / name / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_run_of_two_processes_goes_on_with_one(place: Path) -> None:
    two = Checkpoint.load(place / "halfway" / "checkpoint.pt")

    fit(*resumed(place / "halfway", {"max_minutes": 60}))

    one = Checkpoint.load(place / "halfway" / "checkpoint.pt")
    assert (two.epoch, one.epoch) == (1, 2)
    assert one.history[0] == two.history[0]
    assert not torch.equal(*(c.model["segments.0.head.classify.weight"] for c in (one, two)))


@dataclass(frozen=True)
class Halves:
    """A batch in the slices of two processes."""

    first: Batch
    second: Batch

    @property
    def images(self) -> Tensor:
        return torch.cat([self.first.images, self.second.images])

    @property
    def labels(self) -> Tensor:
        return torch.cat([self.first.labels, self.second.labels])


class HalvedImages:
    """The batches of two processes, side by side."""

    def __init__(self, first: Data, second: Data) -> None:
        self.first, self.second = first, second

    def train(
        self, epoch: int, phase: str, share: float = 1.0, part: slice = slice(None)
    ) -> Iterator[Halves]:
        halves = (half.train(epoch, phase, share, part) for half in (self.first, self.second))
        yield from map(Halves, *halves)

    def steps(self, share: float = 1.0) -> int:
        return self.first.steps(share)


class HalvedProblem(TrainingProblem):
    """One process that gives each half of a batch BatchNorm statistics of its own, as two would."""

    def losses(self, batch: Batch, exits: Sequence[int], weighted: bool = True) -> list[Tensor]:
        assert isinstance(batch, Halves)
        first = super().losses(batch.first, exits, weighted)
        second = super().losses(batch.second, exits, weighted)
        return [(a + b) / 2 for a, b in zip(first, second, strict=True)]


@pytest.mark.parametrize("name", METHODS)
def test_divided_batches_equal_one_process_with_their_batchnorm(
    name: str, place: Path, tmp_path: Path
) -> None:
    run, data = started(tmp_path / "one", config(**settings(name)))
    model = untrained(run, data)
    images = HalvedImages(run.data(part=(0, 2)), run.data(part=(1, 2)))
    problem = HalvedProblem(model, images, Recipe(0.1, 0.9, 1e-4, constant, epochs=1))
    method(name, problem).epoch()

    two = Checkpoint.load(place / name / "checkpoint.pt")

    for parameter_name, parameter in model.named_parameters():
        torch.testing.assert_close(two.model[parameter_name], parameter.detach(), rtol=1e-3, atol=1e-5)


def test_processes_that_divide_tasks_end_an_epoch_alike(place: Path) -> None:
    one, two = (torch.load(place / "drifting" / f"{number}.pt") for number in (0, 1))

    assert not all(torch.equal(a, b) for a, b in zip(one["apart"], two["apart"], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(one["ended"], two["ended"], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(one["ended"], one["apart"], strict=True))
