"""A server process to attack, and what can be seen of it from outside."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread, Timer
from typing import Any

from benchmarks.speed.client import request_bytes
from benchmarks.speed.processes import cpu_seconds

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0


def post(body: bytes, content_type: str = "image/png") -> bytes:
    """Return a whole request with a body, as it goes over the wire."""
    return request_bytes("/classify", body, content_type)


@dataclass
class Target:
    """A running server."""

    process: "subprocess.Popen[Any]"
    port: int
    admin_port: int | None = None

    def connect(self, timeout: float = 10.0, receive_bytes: int | None = None) -> socket.socket:
        """Open a connection, with a receive buffer of so many bytes if that is given."""
        connection = socket.socket()
        if receive_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.settimeout(timeout)
        connection.connect(("127.0.0.1", self.port))
        return connection

    def ask(
        self,
        path: str,
        body: bytes | None = None,
        content_type: str = "image/png",
        timeout: float = 30.0,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """Send one request, POST where it has a body; return the status and the body of the answer."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)) as connection:
            given = {"Content-Type": content_type} if body is not None else {}
            connection.request("GET" if body is None else "POST", path, body, given | (headers or {}))
            response = connection.getresponse()
            return response.status, response.read()

    def raw(self, data: bytes, timeout: float = 10.0, *, half_close: bool = False) -> bytes:
        """Send bytes on a connection of their own, and return what comes back until it ends or times out."""
        received = b""
        with self.connect(timeout) as connection, suppress(OSError):
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65536):
                received += chunk
        return received

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None

    def memory_mb(self, field: str = "VmRSS") -> float:
        """Resident memory; `VmHWM` is the most there was since `forget_peak`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(field))

    def forget_peak(self) -> float:
        """Start a new `VmHWM`; return resident memory as it is."""
        with suppress(OSError):
            Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return self.memory_mb()

    def cpu_seconds(self) -> float:
        """Processor time so far."""
        return cpu_seconds(self.process.pid)

    def metric(self, start: str) -> float:
        """Sum the samples of /metrics whose line starts so."""
        lines = self.ask("/metrics")[1].decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))


@contextmanager
def serving(
    models: Path,
    *flags: str,
    stderr: Any = subprocess.DEVNULL,
    stop: bool = True,
    environment: dict[str, str] | None = None,
    inside: Sequence[str] = (),
) -> Iterator[Target]:
    """Serve `models` on a free port with one thread for each model; end it afterwards, whatever happened.

    Args:
        models: the folder of bundles.
        flags: further flags.
        stderr: where the log goes.
        stop: whether to ask it to stop before it is killed.
        environment: further variables.
        inside: words before the command, of a program that becomes the server.
    """
    command = [sys.executable, "-m", "serving", "--models", str(models), "--port", "0"]
    process = subprocess.Popen(
        [*inside, *command, "--drain-seconds", "0", *flags],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OFFRAMP_THREADS": "1"} | (environment or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    timer = Timer(START_SECONDS, process.kill)
    timer.start()
    try:
        assert process.stdout is not None  # noqa: S101
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the server did not start; it ended with {process.wait(10)}")
        timer.cancel()
        told = json.loads(line)
        yield Target(process, told["port"], told.get("admin_port"))
    finally:
        timer.cancel()
        if stop and process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
        process.kill()
        process.communicate()


@contextmanager
def probing(target: Target, every: float = 0.02, path: str = "/v2/health/live") -> Iterator[list[float]]:
    """Ask for the path all the while; the list has the seconds that each answer took."""
    took: list[float] = []
    going = True

    def ask() -> None:
        while going:
            started = time.perf_counter()
            with suppress(OSError, http.client.HTTPException):
                target.ask(path, timeout=60)
            took.append(time.perf_counter() - started)
            time.sleep(every)

    thread = Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield took
    finally:
        going = False
        thread.join(60)
