"""Kind 4, too: callers that hang up, after bodies of any size and on pipelined requests."""

import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from benchmarks.attack import nets
from benchmarks.attack.finding import Finding, at_most, is_in
from benchmarks.attack.target import Target, post, serving

_CALLERS = 20


def attack() -> Iterator[Finding]:
    """Send bodies of several sizes and hang up; count the requests that are answered all the same."""
    with tempfile.TemporaryDirectory() as folder:
        models, log = nets.slow(Path(folder) / "models", 400), Path(folder) / "log"
        with log.open("wb") as stream, serving(models, stderr=stream) as target:
            for name, size in (("20 KB", 0), ("300 KB", 300_000), ("10 MB", 10_000_000)):
                # Bytes behind an image's end are read and ignored: a small image in a large body.
                yield _hung_up(target, name, nets.png() + bytes(size))
            yield from _pipelined(target)
            target.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                target.process.wait(30)
        yield is_in("tracebacks in the log", log.read_text().count("Traceback"), (0,))


def _answered(target: Target) -> float:
    return target.metric('offramp_http_requests_total{route="/classify",status="200"}')


def _hung_up(target: Target, name: str, body: bytes) -> Finding:
    """Keep the model busy, so that there is time to notice hang-ups."""
    before = _answered(target)
    busy = target.connect()
    busy.sendall(post(nets.npy(256), "application/x-npy"))
    for _ in range(_CALLERS):
        with suppress(OSError), target.connect() as connection:
            connection.sendall(post(body))
            time.sleep(0.01)
    with suppress(OSError):
        busy.recv(65536)
    busy.close()
    _quiet(target)
    return at_most(
        f"of {_CALLERS} that hung up after {name}, answered", _answered(target) - before - 1, 2, "callers"
    )


def _pipelined(target: Target) -> Iterator[Finding]:
    request = post(nets.npy(16), "application/x-npy")
    before = _answered(target)
    for _ in range(5):
        with suppress(OSError), target.connect() as connection:
            connection.sendall(request * 4)
            time.sleep(0.01)
    _quiet(target)
    yield at_most("of 20 pipelined requests hung up on, answered", _answered(target) - before, 5, "requests")


def _quiet(target: Target) -> None:
    """Wait until the server has nothing to do, at most 20 s."""
    until, used = time.monotonic() + 20, -1.0
    while time.monotonic() < until:
        now = target.cpu_seconds()
        if now - used < 0.02:
            return
        used = now
        time.sleep(0.4)
