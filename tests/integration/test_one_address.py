"""Two servers on one address: the second one ends with code 2, whichever moment it starts at."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from serving.errors import OfframpError
from serving.system.address_lock import only_server
from tests.bundles import tiny_bundle
from tests.integration.server_process import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]
HOLD = """
import sys
from serving.system.address_lock import only_server
with only_server("127.0.0.1", int(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def test_of_two_servers_that_start_together_one_serves(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "models" / "tiny")
    command = [
        sys.executable,
        "-m",
        "serving",
        "--models",
        "models",
        "--port",
        str(free_port()),
        "--threads",
        "1",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    both = [
        subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    try:
        # One of the two ends by itself; the other one serves until it is stopped.
        ended = wait_for_one(both)
        (other,) = set(both) - {ended}
        assert ended.returncode == 2
        stdout, stderr = ended.communicate(timeout=PATIENCE_SECONDS)
        assert stdout == ""
        assert "another server is starting or running there" in stderr
        assert other.stdout is not None
        assert "listening" in other.stdout.readline()
    finally:
        for process in both:
            process.kill()
            process.communicate()


def wait_for_one(processes: "list[subprocess.Popen[str]]") -> "subprocess.Popen[str]":
    pids = {process.pid: process for process in processes}
    pid, status = os.wait()
    while pid not in pids:
        pid, status = os.wait()
    pids[pid].returncode = os.waitstatus_to_exitcode(status)
    return pids[pid]


def test_an_address_is_free_again_when_its_process_is_killed() -> None:
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(port)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(OfframpError, match=f"port {port}: another server"), only_server("127.0.0.1", port):
        pytest.fail("it is held")
    with only_server("127.0.0.2", port), only_server("127.0.0.1", 0), only_server("127.0.0.1", 0):
        pass
    holder.kill()
    holder.communicate()
    with only_server("127.0.0.1", port):
        pass
