"""An export says which code it comes from, where there is a way to know."""

import shutil
import subprocess
from pathlib import Path

import pytest

from training.runs.provenance import git_revision, versions


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_revision_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        author = ["-c", "user.name=A", "-c", "user.email=a@b.invalid"]
        return subprocess.run(
            ["git", *author, *words],  # noqa: S607 - whichever git the person has
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    assert git_revision(tmp_path) is None
    git("init")
    assert git_revision(tmp_path) is None
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-m", "first")
    assert git_revision(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "untracked").write_text("no part of the code")
    assert git_revision(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "file").write_text("two")
    assert git_revision(tmp_path) == git("rev-parse", "HEAD") + "-dirty"


def test_without_git_there_is_no_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert git_revision() is None


def test_versions_name_what_computed_the_export() -> None:
    found = versions()
    assert {"python", "torch", "onnx", "numpy"} <= found.keys()
    assert all(isinstance(value, str) and value[0].isdigit() for value in found.values())
