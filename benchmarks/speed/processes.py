"""Servers as processes of their own: started, waited for, looked at through /proc, and ended by their pid."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_START_SECONDS = 600.0
_STOP_SECONDS = 30.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Running:
    """A server that accepts connections.

    Args:
        port: on 127.0.0.1.
        pid: of its process, which may have children.
    """

    port: int
    pid: int

    def url(self, path: str) -> str:
        """Address of a path."""
        return f"http://127.0.0.1:{self.port}{path}"


@contextmanager
def started(
    command: Sequence[str], port: int, log: Path, variables: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Run a server until the block ends.

    Args:
        command: which makes it listen on `port`.
        port: of 127.0.0.1.
        log: gets its output.
        variables: of its environment, on top of this process's.

    Raises:
        RuntimeError: it ended, or does not listen in time; the message closes with the end of the log.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **(variables or {})}
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, cwd=ROOT,
            start_new_session=True,
        )  # fmt: skip
        try:
            _wait_until_it_listens(process, port, log)
            yield Running(port, process.pid)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                # Its own session: what it started ends with it.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def offramp(models: Path, log: Path, *flags: str) -> "contextlib.AbstractContextManager[Running]":
    """Run `offramp serve` over one bundle, with the defaults of a user."""
    port = free_port()
    command = [sys.executable, "-P", "-m", "offramp", "serve", "--models", str(models), "--port", str(port)]
    return started([*command, *flags], port, log)


def free_port() -> int:
    """A port of 127.0.0.1 that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def family(pid: int) -> list[int]:
    """A process and all that it started, and those started, that are alive."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(path.read_text().rpartition(") ")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return found


def family_cpu_seconds(pid: int) -> float:
    """Processor time of a process, of those it started, and of those of them that have ended."""
    total = 0
    for member in family(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(") ")[2].split()
            total += sum(map(int, fields[11:15]))
    return total / _TICKS


def machine_cpu_seconds() -> float:
    """Processor time that all processes of this machine have used so far."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _, _, interrupts, soft_interrupts = map(int, fields[:7])
    return (user + nice + system + interrupts + soft_interrupts) / _TICKS


def resident_bytes(pid: int) -> int:
    """Memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _wait_until_it_listens(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    end = log.read_text(errors="replace")[-1500:]
    raise RuntimeError(f"{json.dumps(process.args)} does not listen on port {port}:\n{end}")
