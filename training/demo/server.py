"""The real server as a process of its own, started and stopped the way an operator would."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any

from training.errors import DemoError

START_SECONDS = 60.0
"""Seconds that a server may take to load its models and listen."""
STOP_SECONDS = 60.0
"""Seconds that it may take to answer admitted requests and to end."""


@dataclass(frozen=True)
class ServerProcess:
    """A server that listens.

    Attributes:
        process: its process.
        url: its address, such as "http://127.0.0.1:8000".
        port: the last part of that.
        models: the names of those that it has loaded.
        said: all of the line that it wrote when it listened.
    """

    process: "subprocess.Popen[bytes]"
    url: str
    port: int
    models: Sequence[str]
    said: Mapping[str, Any]


@contextmanager
def started_server(
    models: Path, log: Path, *flags: str, start_seconds: float = START_SECONDS
) -> Iterator[ServerProcess]:
    """Serve `models` on a free port of this machine, and kill the server at the end of the block.

    Args:
        models: a folder of bundles, or one bundle.
        log: the file for the server's log.
        flags: more flags of `offramp serve`.
        start_seconds: how long it may take to load its models and listen.

    Raises:
        DemoError: the server did not start in time, or died; the message closes with the end of the log.
    """
    command = [sys.executable, "-P", "-m", "offramp", "serve", "--models", str(models), "--port", "0", *flags]
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("wb") as errors,
        subprocess.Popen(  # noqa: S603 - our own program
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        ) as process,
    ):
        try:
            said = _listening(process, log, start_seconds)
            yield ServerProcess(process, said["url"], said["port"], said["models"], said)
        finally:
            process.kill()


@contextmanager
def running_server(
    models: Path, log: Path, *flags: str, start_seconds: float = START_SECONDS
) -> Iterator[str]:
    """Serve `models` on a free port, give the server's address, and stop it with SIGTERM.

    Args:
        models: a folder of bundles, or one bundle.
        log: the file for the server's log.
        flags: more flags of `offramp serve`.
        start_seconds: how long it may take to load its models and listen.

    Raises:
        DemoError: the server did not start in time, died, or did not end with exit code 0 in time; the
            message closes with the end of the log.
    """
    flags = ("--drain-seconds", "0", *flags)
    with started_server(models, log, *flags, start_seconds=start_seconds) as running:
        yield running.url
        stop(running.process, log)


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


def _listening(process: "subprocess.Popen[bytes]", log: Path, start_seconds: float) -> dict[str, Any]:
    """Wait for the one line that the server prints once it listens."""
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    alarm = Timer(start_seconds, process.kill)  # ends the pipe, and with it the wait
    alarm.start()
    line = process.stdout.readline()
    alarm.cancel()
    if not line:
        code = process.wait()
        raise DemoError(
            f"the server did not listen within {start_seconds:g} s, or ended; exit code {code}{_tail(log)}"
        )
    said: dict[str, Any] = json.loads(line)
    return said


def _tail(log: Path, lines: int = 20) -> str:
    last = log.read_text(errors="replace").splitlines()[-lines:]
    return f"; the end of {log}:\n" + "\n".join(last)
