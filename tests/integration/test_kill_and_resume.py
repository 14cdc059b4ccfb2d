"""A run killed in the middle of an epoch, by a signal that nothing can catch, ends with the same weights."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.training.runs import flags, trained
from training.checkpoint import Checkpoint


def command(out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "training.fit", "--out", str(out), *more]


@pytest.mark.parametrize("method", ["joint", "meta-gf"])
def test_kill_9_in_mid_epoch(method: str, tmp_path: Path) -> None:
    # Long epochs, so that the kill below lands in the middle of the second one.
    settings = {"method": method, "epochs": 3, "train_limit": 300, "batch_size": 8}
    trained(tmp_path / "whole", **settings)

    with subprocess.Popen(command(tmp_path / "killed", *flags(**settings))) as process:
        while not (tmp_path / "killed" / "checkpoint.pt").exists():
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert Checkpoint.load(tmp_path / "killed" / "checkpoint.pt").epoch < 3
    subprocess.run(command(tmp_path / "killed", "--resume"), check=True)

    whole, killed = (Checkpoint.load(tmp_path / name / "checkpoint.pt") for name in ("whole", "killed"))
    assert all(torch.equal(killed.model[name], value) for name, value in whole.model.items())
    lines = (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()
    assert [f'"epoch": {n},' in line for n, line in enumerate(lines, start=1)] == [True] * 3
