"""A run folder is written to by one process at a time, and damage to it is always named."""

from pathlib import Path

import pytest
import torch

from tests.training.small_runs import config, trained
from training.errors import DataError, RunError
from training.fitting.fit import fit
from training.runs.checkpoint import Checkpoint
from training.runs.run import Run
from training.runs.start import resumed


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory.mktemp("runs") / "run", epochs=1)


@pytest.fixture
def copied(run: Run, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("config.json", "split.npz", "checkpoint.pt"):
        (folder / name).write_bytes((run.folder / name).read_bytes())
    return folder


def test_a_second_run_in_one_folder_is_refused_by_name(copied: Path) -> None:
    again, data = resumed(copied, {})
    with again.held(), pytest.raises(RunError, match="another process is training this run"):
        fit(again, data)
    with again.held():
        pass


def test_two_that_start_at_once_do_not_mix(run: Run, tmp_path: Path) -> None:
    first = Run.create(tmp_path / "new", config(), run.facts, run.data().split)
    with pytest.raises(RunError, match="already holds a run"):
        Run.create(first.folder, config(epochs=5), run.facts, run.data().split)
    assert Run.open(first.folder).config.epochs == config().epochs


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"[" * 100_000,
        b"[]",
        b"7",
        b'{"settings": {}}',
        b'{"settings": {}, "facts": []}',
        b"\xff\xfe",
    ],
)
def test_settings_that_are_none_are_named(copied: Path, content: bytes) -> None:
    (copied / "config.json").write_bytes(content)
    with pytest.raises(RunError, match=r"config.json: not the settings of a run of this version"):
        Run.open(copied)


def test_a_folder_in_place_of_the_settings_is_named(copied: Path) -> None:
    (copied / "config.json").unlink()
    (copied / "config.json").mkdir()
    with pytest.raises(RunError, match="not the settings of a run"):
        Run.open(copied)


@pytest.mark.parametrize("place", [0, 300, -30, -3])
def test_a_split_that_is_damaged_is_named(copied: Path, place: int) -> None:
    data = bytearray((copied / "split.npz").read_bytes())
    data[place] ^= 0x10
    (copied / "split.npz").write_bytes(data)
    with pytest.raises(DataError, match="expected a stored split"):
        Run.open(copied).data()


def test_weights_that_are_missing_are_the_same_error_as_damage(copied: Path) -> None:
    path = copied / "checkpoint.pt"
    whole = Checkpoint.load(path)
    name = next(iter(whole.model))
    del whole.model[name]
    whole.save(path)
    with pytest.raises(RunError, match="not a checkpoint of this version, or damaged"):
        Run.open(copied).model()
    again, data = resumed(copied, {})
    with pytest.raises(RunError, match="not a checkpoint of this version, or damaged"):
        fit(again, data)


def test_weights_of_another_shape_are_too(copied: Path) -> None:
    path = copied / "checkpoint.pt"
    whole = Checkpoint.load(path)
    name = next(iter(whole.model))
    whole.model[name] = torch.zeros(1, 2, 3)
    whole.save(path)
    with pytest.raises(RunError, match="not a checkpoint of this version, or damaged"):
        Run.open(copied).model()
