"""The demo's hold on a real server process: its address, its good end, and its bad ends."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.bundles import tiny_bundle
from training.demo.server import running_server, stop
from training.errors import DemoError


def test_a_server_is_ready_at_the_address_and_gone_afterwards(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "models" / "tiny")
    with running_server(tmp_path / "models", tmp_path / "server.log", "--threads", "1") as address:
        assert httpx.get(f"{address}/v2/health/ready").status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/v2/health/live")
    assert (tmp_path / "server.log").exists()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(DemoError, match=r"(?s)exit code 2.*server\.log"),
        running_server(tmp_path / "nothing-here", tmp_path / "server.log"),
    ):
        pytest.fail("there is nothing to serve")


def python(code: str, log: Path) -> "subprocess.Popen[bytes]":
    """Start a stand-in for a server, and return once it has printed a line."""
    with log.open("wb") as errors:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=errors)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    return process


def test_a_server_that_ends_badly_fails(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "import signal, sys; signal.signal(15, lambda *_: sys.exit('lost a request'))"
    with (
        python(f"{code}; print(flush=True); signal.pause()", log) as process,
        pytest.raises(DemoError, match=r"(?s)exit code 1, expected 0.*lost a request"),
    ):
        stop(process, log)


def test_a_server_that_died_before_fails(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with python("print(flush=True)", log) as process:
        process.wait()
        with pytest.raises(DemoError, match="had died with exit code 0"):
            stop(process, log)


def test_a_server_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); signal.pause()"
    with python(code, log) as process:
        with pytest.raises(DemoError, match="still running"):
            stop(process, log, timeout_seconds=0.1)
        assert process.wait() == -9
