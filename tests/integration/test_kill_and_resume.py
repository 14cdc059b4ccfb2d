"""A run killed in the middle of an epoch, by a signal that nothing can catch, ends with the same weights."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.training.small_runs import flags, trained
from training import compare, fit
from training.runs.checkpoint import Checkpoint


def kill_when_there(path: Path, command: str, words: list[str]) -> None:
    """Run a command, and kill it as soon as `path` exists."""
    with subprocess.Popen([sys.executable, "-P", "-m", "offramp", command, *words]) as process:
        while not path.exists():
            assert process.poll() is None, "the command ended before it could be killed"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("method", ["joint", "meta-gf"])
def test_kill_9_in_mid_epoch(method: str, tmp_path: Path) -> None:
    # Long epochs, so that the kill below lands in the middle of the second one.
    settings = {"method": method, "epochs": 3, "train_limit": 300, "batch_size": 8}
    trained(tmp_path / "whole", **settings)

    words = ["--out", str(tmp_path / "killed"), *flags(**settings)]
    kill_when_there(tmp_path / "killed" / "checkpoint.pt", "fit", words)
    assert Checkpoint.load(tmp_path / "killed" / "checkpoint.pt").epoch < 3
    assert fit.main(["--out", str(tmp_path / "killed"), "--resume"]) == 0

    whole, killed = (Checkpoint.load(tmp_path / name / "checkpoint.pt") for name in ("whole", "killed"))
    assert all(torch.equal(killed.model[name], value) for name, value in whole.model.items())
    lines = (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()
    assert [f'"epoch": {n},' in line for n, line in enumerate(lines, start=1)] == [True] * 3


def test_a_comparison_killed_in_its_second_run_goes_on_with_it(tmp_path: Path) -> None:
    settings = {"train_limit": 300, "batch_size": 8}
    trained(tmp_path / "whole", **settings, method="ge", epochs=2)
    out = tmp_path / "compared"
    runs = [out / "runs" / f"{method}-0" for method in ("joint", "ge")]
    words = [*flags(**settings), "--methods", "joint", "ge", "--epochs", "2", "--seeds", "0"]
    words = ["--out", str(out), *words, "--device", "cpu"]

    kill_when_there(runs[1] / "checkpoint.pt", "compare", words)
    before = (runs[0] / "checkpoint.pt").stat().st_mtime_ns
    assert not (out / "report.md").exists()
    assert compare.main(words) == 0

    assert (runs[0] / "checkpoint.pt").stat().st_mtime_ns == before, "what was finished is not trained again"
    whole, killed = (Checkpoint.load(f / "checkpoint.pt") for f in (tmp_path / "whole", runs[1]))
    assert killed.epoch == 2
    assert all(torch.equal(killed.model[name], value) for name, value in whole.model.items())
    assert (out / "report.md").exists()
