"""The rivals' virtual environments: made and filled once, and started from there."""

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import onnxruntime
import PIL

from serving.images.preprocessing import Preprocessing

from .processes import Running, free_port, started

RIVALS = Path(__file__).with_name("rivals")
_COMMON = (f"onnxruntime=={onnxruntime.__version__}", f"pillow=={PIL.__version__}", "numpy")
_MOSEC_TIMEOUT_MS = 60_000  # its default of 3 s is less than 64 large networks take one after the other
_PACKAGES = {
    "fastapi": ("fastapi", "uvicorn[standard]", *_COMMON),
    "mosec": ("mosec", *_COMMON),
    "loadgen": ("mlcommons-loadgen",),
    "opencv": ("opencv-python-headless", "numpy"),
}


@dataclass(frozen=True)
class Peer:
    """A full-depth server.

    Args:
        kind: `fastapi` or `mosec`.
        workers: processes that compute (mosec).
        threads: of each session.
    """

    kind: str
    workers: int
    threads: int

    @property
    def name(self) -> str:
        """For the table."""
        workers = f", {_counted(self.workers, 'worker')}" if self.kind == "mosec" else ""
        return f"{self.kind}{workers}, {_counted(self.threads, 'thread')}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}"


def rivals() -> tuple[Peer, ...]:
    """The trials: each server with one thread, and with all."""
    cores = os.cpu_count() or 1
    return (
        Peer("fastapi", 1, 1),
        Peer("fastapi", 1, cores),
        Peer("mosec", cores, 1),
        Peer("mosec", 1, cores),
    )


def python_of(kind: str, work: Path) -> Path:
    """Return the interpreter of a rival's environment, made where it is missing.

    Raises:
        RuntimeError: its packages cannot be installed.
    """
    return environment(work / "envs" / kind, _PACKAGES[kind], timeout=600)


def environment(folder: Path, packages: Sequence[str], timeout: float | None = None) -> Path:
    """Return the interpreter of an environment that holds some packages, made where it is missing.

    Args:
        folder: of the environment.
        packages: as pip takes them.
        timeout: of pip, in seconds.

    Raises:
        RuntimeError: they cannot be installed.
    """
    complete = folder / "complete"
    python = folder / "bin" / "python"
    wanted = "\n".join(packages)
    if complete.exists() and complete.read_text() == wanted:
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    installed = subprocess.run(
        [*pip, *packages], check=False, capture_output=True, text=True, timeout=timeout
    )
    if installed.returncode:
        raise RuntimeError(
            f"{folder.name}: pip could not install {wanted.split()}: {installed.stderr[-800:]}"
        )
    complete.write_text(wanted)
    return python


def serve(
    rival: Peer, model: Path, work: Path, spec: Preprocessing | None = None
) -> "AbstractContextManager[Running]":
    """Run a rival over a whole net.

    Args:
        rival: the server.
        model: the net as one graph.
        work: a folder for its environment and its log.
        spec: crops and resizes images to a square; None takes them as they are.

    Raises:
        RuntimeError: its environment cannot be made, or it does not start.
    """
    python, port = str(python_of(rival.kind, work)), free_port()
    log = work / f"{rival.kind}-{rival.threads}.log"
    sizes = {} if spec is None else {"SIDE": str(spec.width), "SHORTER": str(spec.resize or spec.width)}
    if rival.kind == "fastapi":
        command = [python, str(RIVALS / "fastapi_server.py"), str(model), str(port), str(rival.threads)]
        return started(command, port, log, sizes)
    variables = {"MODEL": str(model), "WORKERS": str(rival.workers), "THREADS": str(rival.threads)}
    command = [python, str(RIVALS / "mosec_server.py"), "--address", "127.0.0.1", "--port", str(port)]
    command += ["--timeout", str(_MOSEC_TIMEOUT_MS)]
    return started(command, port, log, {**variables, **sizes})


def path_of(rival: Peer) -> str:
    """Where a rival answers."""
    return "/classify" if rival.kind == "fastapi" else "/inference"
