"""Kind 9: outputs without a reader, closed, or full."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from benchmarks.attack import nets
from benchmarks.attack.finding import Finding, at_most, is_in
from benchmarks.attack.target import ROOT, Target, serving

_REQUESTS = 800


def attack() -> Iterator[Finding]:
    """Let the server's standard error fill up; start it with outputs that cannot be written."""
    with tempfile.TemporaryDirectory() as folder:
        models = nets.tiny(Path(folder) / "models")
        with serving(models, "--access-log", stderr=subprocess.PIPE, stop=False) as target:
            answered = 0
            with suppress(OSError):
                for _ in range(_REQUESTS):
                    answered += target.ask("/classify", nets.png(), timeout=3)[0] == 200
            yield is_in(f"answered of {_REQUESTS:,} with an unread log", answered, (_REQUESTS,))
            started = time.monotonic()
            target.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                target.process.wait(10)
            yield at_most("the stop, with an unread log", time.monotonic() - started, 5, "s")
        for name, redirection in (
            ("standard output closed", ">&-"),
            ("standard error closed", "2>&-"),
            ("both full", ">/dev/full 2>/dev/full"),
        ):
            yield _starts(models, name, redirection, Path(folder) / "log")


def _starts(models: Path, name: str, redirection: str, log: Path) -> Finding:
    """Start it on a port that was free a moment ago, since nothing can be read of its own."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log.write_bytes(b"")
    errors = "" if "2>" in redirection else f"2>>{log}"
    process = subprocess.Popen(
        [
            "/bin/sh",
            "-c",
            f"exec {sys.executable} -m serving --models {models} --port {port} --threads 1 --access-log "
            f"--drain-seconds 0 {redirection} {errors}",
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
    )
    try:
        found = "never served"
        until = time.monotonic() + 20
        while time.monotonic() < until and process.poll() is None and found != "200, no traceback":
            with suppress(OSError):
                status = Target(process, port).ask("/classify", nets.png(), timeout=3)[0]
                found = f"{status}, {'a' if 'Traceback' in log.read_text() else 'no'} traceback"
            time.sleep(0.1)
        if process.poll() is not None:
            found = f"ended with {process.returncode}"
    finally:
        process.kill()
        process.wait()
    return is_in(name, found, ("200, no traceback",))
