"""`training.conflict` on a tiny run of digits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.small_runs import trained
from training import conflict
from training.runs.checkpoint import Checkpoint
from training.runs.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory.mktemp("runs") / "joint", method="joint")


@pytest.fixture(scope="module")
def measured(run: Run) -> dict[str, Any]:
    before = Checkpoint.load(run.checkpoint_path)
    words = ["--batches", "2", "--share", "0.5", "--epochs", "2", "--expected-training"]
    assert conflict.main([str(run.folder), *words, "--threads", "1", "--device", "cpu"]) == 0
    after = Checkpoint.load(run.checkpoint_path)
    assert all(torch.equal(before.model[name], after.model[name]) for name in before.model)
    found: dict[str, Any] = json.loads((run.folder / "conflict" / "conflict.json").read_text())
    return found


@pytest.mark.parametrize("key", ["mini_batch", "expected"])
def test_cosines_are_told_at_every_level(key: str, measured: dict[str, Any]) -> None:
    one = measured[key]

    whole = np.array(one["whole"]["cosine"])
    assert whole.shape == (2, 2)
    assert whole == pytest.approx(whole.T)
    assert np.diagonal(whole) == pytest.approx([1, 1])
    assert abs(whole[0, 1]) < 1
    assert one["samples"] == {"mini_batch": 2, "expected": 1}[key]
    # The last segment serves the last exit alone: nothing in it is shared.
    assert [segment["segment"] for segment in one["segments"]] == [1]
    assert {tuple(tensor["exits"]) for tensor in one["tensors"]} == {(1, 2)}
    assert sum(tensor["parameters"] for tensor in one["tensors"]) == one["whole"]["parameters"]


def test_the_copy_is_measured_before_and_after_every_epoch(measured: dict[str, Any]) -> None:
    assert [entry["epoch"] for entry in measured["training"]] == [0, 1, 2]
    # The copy ends where the run did, bit for bit, and is measured on the same batches.
    assert measured["training"][-1]["cosine"] == measured["mini_batch"]["whole"]["cosine"]
    assert measured["training"][-1]["expected"] == measured["expected"]["whole"]["cosine"]
    for key in ("cosine", "expected"):
        assert measured["training"][0][key] != measured["training"][-1][key]


def test_the_figures_are_drawn(run: Run, measured: dict[str, Any]) -> None:
    drawn = {path.name for path in (run.folder / "conflict").glob("*.png")}

    assert drawn == {
        "whole.png",
        "training.png",
        "training-expected.png",
        *(f"{level}-{key}.png" for level in ("segments", "layers") for key in ("mini_batch", "expected")),
    }


def test_expected_gradients_can_be_left_out(run: Run, tmp_path: Path) -> None:
    words = ["--batches", "1", "--no-expected", "--threads", "1", "--device", "cpu", "--out", str(tmp_path)]
    assert conflict.main([str(run.folder), *words]) == 0

    found = json.loads((tmp_path / "conflict.json").read_text())
    assert (found["expected"], found["training"]) == (None, [])
    assert not (tmp_path / "training.png").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--expected-training"], "--expected-training: expected --epochs E as well"),
        (["--epochs", "9"], "--epochs 9: expected at most the run's own 2"),
        (["--batches", "0"], "--batches: Input should be greater than or equal to 1"),
        (["--device", "tpu"], "--device tpu: expected cpu"),
    ],
)
def test_mistakes_are_told(words: list[str], says: str, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert conflict.main([str(run.folder), "--threads", "1", *words]) == 2

    assert says in capsys.readouterr().err


def test_no_run_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert conflict.main([str(tmp_path / "none")]) == 2

    assert "not a run folder" in capsys.readouterr().err
