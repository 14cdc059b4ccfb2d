import os
from pathlib import Path

import pytest
import torch

from training.errors import RunError
from training.runs.checkpoint import Checkpoint


def checkpoint(epoch: int) -> Checkpoint:
    return Checkpoint(epoch, {"w": torch.ones(2)}, {"eta": {"0": torch.zeros(1)}}, [{"epoch": epoch}], 1.5)


def test_a_checkpoint_comes_back_whole(tmp_path: Path) -> None:
    checkpoint(3).save(tmp_path / "checkpoint.pt")

    loaded = Checkpoint.load(tmp_path / "checkpoint.pt")

    assert (loaded.epoch, loaded.history, loaded.seconds) == (3, [{"epoch": 3}], 1.5)
    assert torch.equal(loaded.model["w"], torch.ones(2))


def test_a_save_that_dies_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint(1).save(path)

    def die(_: int) -> None:
        raise OSError("killed")

    monkeypatch.setattr(os, "fsync", die)
    with pytest.raises(OSError, match="killed"):
        checkpoint(2).save(path)

    assert Checkpoint.load(path).epoch == 1


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 not really a zip"])
def test_garbage_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)

    with pytest.raises(RunError, match=r"checkpoint.pt: not a checkpoint of this version"):
        Checkpoint.load(path)


def test_a_missing_one_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no checkpoint yet"):
        Checkpoint.load(tmp_path / "checkpoint.pt")
