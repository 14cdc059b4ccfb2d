"""The real server as a process of its own, started and stopped the way an operator would."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

from training.errors import DemoError

START_SECONDS = 60.0
"""How long a server may take to load its models and listen."""
STOP_SECONDS = 60.0
"""How long it may take to answer what it had admitted and to end."""


@contextmanager
def running_server(models: Path, log: Path, *flags: str) -> Iterator[str]:
    """Serve `models` on a free port, give the server's address, and stop it with SIGTERM.

    Args:
        models: a folder of bundles, or one bundle.
        log: the file for what the server logs.
        flags: more flags for `python -m serving`.

    Raises:
        DemoError: the server did not start in time, died, or did not end with exit code 0 in time; the
            message closes with the last lines of the log.
    """
    command = [
        sys.executable,
        "-m",
        "serving",
        "--models",
        str(models),
        "--port",
        "0",
        "--drain-seconds",
        "0",
    ]
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("wb") as errors,
        subprocess.Popen(  # noqa: S603 - our own program
            [*command, *flags], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        ) as process,
    ):
        try:
            yield _address(process, log)
        except BaseException:
            process.kill()
            raise
        stop(process, log)


def stop(process: "subprocess.Popen[bytes]", log: Path, timeout_seconds: float = STOP_SECONDS) -> None:
    """End a server with SIGTERM and insist that it ends well.

    Raises:
        DemoError: it had died before, did not end in time (it is killed then), or its exit code is not 0.
    """
    if process.poll() is not None:
        raise DemoError(f"the server had died with exit code {process.returncode}{_tail(log)}")
    process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise DemoError(
            f"the server was still running {timeout_seconds:g} s after SIGTERM{_tail(log)}"
        ) from None
    if code != 0:
        raise DemoError(f"the server ended with exit code {code}, expected 0{_tail(log)}")


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """Wait for the one line that the server prints once it listens."""
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    alarm = Timer(START_SECONDS, process.kill)  # ends the pipe, and with it the wait
    alarm.start()
    line = process.stdout.readline()
    alarm.cancel()
    if not line:
        code = process.wait()
        raise DemoError(
            f"the server did not listen within {START_SECONDS:g} s, or ended; exit code {code}{_tail(log)}"
        )
    return str(json.loads(line)["url"])


def _tail(log: Path, lines: int = 20) -> str:
    last = log.read_text(errors="replace").splitlines()[-lines:]
    return f"; the end of {log}:\n" + "\n".join(last)
