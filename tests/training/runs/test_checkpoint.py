import os
import subprocess
import sys
from pathlib import Path

import numpy as np
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
        raise OSError(28, "killed")

    monkeypatch.setattr(os, "fsync", die)
    with pytest.raises(RunError, match="cannot be written: killed; make room"):
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


def test_a_bit_that_flips_anywhere_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint(1).save(path)
    sound = path.read_bytes()
    draw = np.random.default_rng(0)
    for place in draw.choice(len(sound), 200, replace=False):
        damaged = bytearray(sound)
        damaged[place] ^= 1 << int(draw.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(RunError, match=r"checkpoint.pt: not a checkpoint of this version, or damaged"):
            Checkpoint.load(path)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.999])
def test_a_file_that_ends_early_is_noticed(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint(1).save(path)
    sound = path.read_bytes()
    path.write_bytes(sound[: int(kept * len(sound))])
    with pytest.raises(RunError, match="damaged"):
        Checkpoint.load(path)


def test_one_from_before_there_was_a_checksum_is_read(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    whole = checkpoint(2)
    torch.save({name: getattr(whole, name) for name in Checkpoint.__dataclass_fields__}, path)
    assert Checkpoint.load(path).epoch == 2


def test_it_stays_an_archive_that_torch_reads(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint(2).save(path)
    assert torch.load(path, weights_only=True)["epoch"] == 2


@pytest.mark.parametrize(
    "content",
    [
        {"epoch": 1},
        [1, 2],
        {"epoch": "1", "model": {}, "method": {}, "history": [], "seconds": 1.0},
        {"epoch": 1, "model": {"w": 3}, "method": {}, "history": [], "seconds": 1.0},
        {"epoch": 1, "model": {}, "method": {}, "history": [], "seconds": 1.0, "more": 1},
    ],
)
def test_an_archive_of_something_else_is_refused_by_the_same_name(tmp_path: Path, content: object) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save(content, path)
    with pytest.raises(RunError, match="not a checkpoint of this version, or damaged"):
        Checkpoint.load(path)


_FULL = """
import resource, sys, torch
from pathlib import Path
from training.errors import RunError
from training.runs.checkpoint import Checkpoint
path = Path(sys.argv[1])
small = Checkpoint(1, {"w": torch.ones(2)}, {}, [{"epoch": 1}], 1.0)
small.save(path)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    Checkpoint(2, {"w": torch.ones(100_000)}, {}, [{"epoch": 1}], 1.0).save(path)
except RunError as error:
    print(error)
print(Checkpoint.load(path).epoch, sorted(file.name for file in path.parent.iterdir()))
"""


def test_a_full_disk_is_named_and_leaves_the_epoch_before_and_no_draft(tmp_path: Path) -> None:
    """A limit on the size of files stands in for a disk without room: writing fails in the same place."""
    ended = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path / "checkpoint.pt")],
        capture_output=True,
        text=True,
        check=True,
    )
    error, kept = ended.stdout.splitlines()
    assert "cannot be written" in error
    assert "--resume" in error
    assert kept == "1 ['checkpoint.pt']"
