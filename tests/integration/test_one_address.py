"""Two servers on one address: the second one ends with code 2, whichever moment it starts at."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from serving.errors import OfframpError
from serving.system.address_lock import only_server
from serving.web.server import reserve, share_address
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


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "::"])  # noqa: S104
def test_an_address_that_is_taken_is_taken_under_every_name(host: str) -> None:
    """A server that loads its models does not listen yet: another one ends before it loads any."""
    with reserve("127.0.0.1", 0) as held:
        port = held.getsockname()[1]
        with pytest.raises(OfframpError, match=f"cannot listen on {host} port {port}: .* in use"):
            reserve(host, port)
        with reserve("127.0.0.2", port):
            pass


def test_an_address_can_be_taken_while_connections_of_an_earlier_server_fade() -> None:
    with reserve("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        listening.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as the server does before it listens
        listening.listen()
        with socket.create_connection(("127.0.0.1", port)):
            listening.accept()[0].close()  # the side that closes first keeps the address
    with pytest.raises(OSError, match="in use"), socket.socket() as plain:
        plain.bind(("127.0.0.1", port))
    with reserve("127.0.0.1", port):
        pass


def test_a_shared_address_can_be_taken_by_a_process_of_the_same_server() -> None:
    with reserve("127.0.0.1", 0) as held:
        share_address(held)
        with reserve(*held.getsockname()):
            pass


def test_a_long_name_of_a_host_does_not_hide_the_port() -> None:
    host = "pod-0." + "a" * 60 + ".namespace.svc.cluster.example.org.example.com"
    with (
        only_server(host, 8000),
        only_server(host, 8001),
        pytest.raises(OfframpError),
        only_server(host, 8001),
    ):
        pass
