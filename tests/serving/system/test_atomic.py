"""Drafts that killed writers left behind go, those of living ones stay; a folder is held by one at a time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving.errors import BundleError
from serving.system.atomic import locked, new_folder, write_atomically


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_drafts_of_a_file_go_with_the_next_one_that_is_written(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    (tmp_path / f".state.json.{ended_process()}.draft").write_text("half")
    alive = tmp_path / f".state.json.{os.getppid()}.draft"
    other = tmp_path / ".other.json.1.draft"
    for kept in (alive, other):
        kept.write_text("half")
    write_atomically(path, "whole")
    assert sorted(tmp_path.iterdir()) == sorted((path, alive, other))


_KILLED = """
import os, sys
from pathlib import Path
from serving.system.atomic import new_folder
with new_folder(Path(sys.argv[1]), {"file": b"half"}, replace=True):
    os.kill(os.getpid(), 9)
"""


def test_the_draft_of_a_killed_export_goes_with_the_next_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    assert subprocess.run([sys.executable, "-c", _KILLED, str(target)], check=False).returncode == -9
    (draft,) = tmp_path.iterdir()
    assert draft.name.startswith(".model.")
    with new_folder(target, {"file": b"whole"}, replace=False):
        pass
    assert list(tmp_path.iterdir()) == [target]


def test_drafts_that_are_written_to_now_stay_and_so_does_what_is_none(tmp_path: Path) -> None:
    target, mine = tmp_path / "model", tmp_path / ".model.backup"
    mine.mkdir()
    with new_folder(target, {}, replace=True) as first, new_folder(target, {}, replace=True):
        assert first.is_dir()
    assert sorted(tmp_path.iterdir()) == [mine, target]


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(BundleError, match="No space left on device; make room"),
        new_folder(tmp_path / "model", {"file": b"whole"}, replace=False),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(BlockingIOError), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass
