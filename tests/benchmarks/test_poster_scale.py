"""A dry run of the poster's comparison on the CPU: planned once, gone on with, reported when it is done."""

import json
from pathlib import Path

import pytest

from benchmarks.poster_scale import epochs_that_fit, main
from tests.training.small_runs import TINY
from training.runs.checkpoint import Checkpoint


def command(out: Path, minutes: str = "0.0001") -> list[str]:
    words = ["--data", "digits", "--minutes", minutes, "--methods", "joint", "meta-gf:task_share=0.5"]
    words += ["--model", "msdnet-tiny", "--model-option", *TINY["model_option"], "--threads", "1"]
    words += ["--train-limit", "160", "--batch-size", "32", "--precision", "float32", "--out", str(out)]
    return words


def test_calls_go_on_until_all_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    late = iter([0.0, 1e9])
    assert main(command(tmp_path), clock=lambda: next(late, 1e9)) == 0
    assert "to go on with: joint seed 0, meta-gf:task_share=0.5 seed 0" in capsys.readouterr().out
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan["epochs"] == 1
    assert not (tmp_path / "runs").exists()

    assert main([*command(tmp_path), "--call-minutes", "9"]) == 0

    assert "joint seed 0: mean over exits" in capsys.readouterr().out
    assert json.loads((tmp_path / "plan.json").read_text()) == plan
    assert Checkpoint.load(tmp_path / "runs/joint-0/checkpoint.pt").epoch == 1
    (view,) = json.loads((tmp_path / "report.json").read_text())["views"]
    assert [method["label"] for method in view["methods"]] == ["joint", "meta-gf:task_share=0.5"]
    assert (tmp_path / "budgeted-epochs.png").exists()

    assert main(command(tmp_path, minutes="5")) == 2
    assert "was begun with other settings (minutes)" in capsys.readouterr().err


def test_the_epochs_are_the_posters_at_most_and_one_at_least() -> None:
    assert epochs_that_fit([1.0, 4.8], minutes=1e6) == 300
    assert epochs_that_fit([100.0], minutes=1) == 1
