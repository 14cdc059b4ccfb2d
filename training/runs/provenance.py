"""Where an exported model comes from: the revision of the code and the versions of what computed it."""

import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("offramp", "torch", "onnx", "onnxscript", "onnxruntime-gpu", "onnxruntime", "numpy", "pillow")


def git_revision(folder: Path | None = None) -> str | None:
    """Return the commit of the repository around `folder` (the working directory where None).

    `-dirty` follows where tracked files differ from the commit; None without git, repository or commit.
    """
    revision = _git(folder, "rev-parse", "HEAD")
    if revision is None:
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return f"{revision}-dirty" if changed else revision


def versions() -> dict[str, str]:
    """Return the versions of Python and of every package here that an export's result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # one of the two builds of onnxruntime, or a source tree not installed
            continue
    return found


def _git(folder: Path | None, *arguments: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
        [git, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None
