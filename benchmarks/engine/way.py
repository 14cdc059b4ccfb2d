"""Counts the source files of one answer on the running server, and the changes from one to another.

    python -m benchmarks.engine.way exported_models/cifar10-ladder-int8 docs/images/horse.png --budget 30%

The server runs in a process whose threads all have a profile function (`sys.setprofile`). Calls and returns
of functions below `serving/` count, in the order of the interpreter, from the start of the request to the end
of its answer. A few requests come before, so that caches are filled.
"""

import argparse
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from itertools import groupby
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import serving

ROOT = Path(serving.__path__[0]).parent
_UNCOUNTED = 5


def main() -> None:
    """Start a server, ask it, and print the figures."""
    if sys.argv[1:2] == ["--serve"]:
        _serve(Path(sys.argv[2]), sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--budget", default="30MFLOPs", help="of the request")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = traced(options.bundle.resolve(), options.image.read_bytes(), options.budget, Path(folder))
        print(json.dumps(found, indent=1))


def traced(bundle: Path, image: bytes, budget: str, folder: Path) -> dict[str, Any]:
    """Return the exit of an answer, its files in order of appearance, and the changes of file."""
    found = folder / "calls.json"
    command = [sys.executable, __file__, "--serve", str(found), "--models", str(bundle), "--port", "0"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True
    ) as process:
        try:
            assert process.stdout is not None  # noqa: S101
            port = json.loads(process.stdout.readline())["port"]
            for _ in range(_UNCOUNTED):
                answer = _ask(port, image, budget)
            process.send_signal(signal.SIGUSR1)
            time.sleep(0.5)
            begun = time.monotonic()
            answer = _ask(port, image, budget)
            ended = time.monotonic()
            process.send_signal(signal.SIGUSR2)
            while not found.exists():
                time.sleep(0.1)
        finally:
            process.kill()
    steps = [(file, event) for file, event, at in json.loads(found.read_text()) if begun <= at <= ended]
    files = [file for file, _ in steps]
    calls = [file for file, event in steps if event == "call"]
    return {
        "exit": answer["exit"],
        "calls": len(calls),
        "files": len(set(files)),
        "changes": sum(1 for _ in groupby(files)) - 1,
        "changes_of_calls": sum(1 for _ in groupby(calls)) - 1,
        "in_order": list(dict.fromkeys(files)),
    }


def _ask(port: int, image: bytes, budget: str) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/classify?budget={budget}", image, {"Content-Type": "image/png"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - the server started here
        answer: dict[str, Any] = json.load(response)
        return answer


def _serve(found: Path, words: list[str]) -> None:
    """Serve with a profile function on every thread; SIGUSR1 begins to keep calls, SIGUSR2 writes them."""
    names: dict[CodeType, str | None] = {}
    kept: list[tuple[str, str, float]] = []
    keeping = False
    below = f"{ROOT}{os.sep}serving{os.sep}"

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if not keeping or event not in ("call", "return"):
            return
        code = frame.f_code
        if code not in names:
            names[code] = code.co_filename.removeprefix(below) if code.co_filename.startswith(below) else None
        if name := names[code]:
            kept.append((name, event, time.monotonic()))

    def begin(*_: Any) -> None:
        nonlocal keeping
        kept.clear()
        keeping = True

    def end(*_: Any) -> None:
        nonlocal keeping
        keeping = False
        found.with_suffix(".draft").write_text(json.dumps(kept))
        found.with_suffix(".draft").rename(found)

    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, end)
    threading.setprofile(profile)
    sys.setprofile(profile)
    sys.argv = ["serving", *words]
    sys.path.insert(0, str(ROOT))
    runpy.run_module("serving", run_name="__main__")


if __name__ == "__main__":
    main()
