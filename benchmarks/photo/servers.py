"""The servers of one network in one precision, and one round of load on one of them."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.client import request_bytes, wait_for_answer
from benchmarks.speed.closed_loop import send_all
from benchmarks.speed.environments import Peer, path_of, serve
from benchmarks.speed.processes import (
    Running,
    family,
    family_cpu_seconds,
    machine_cpu_seconds,
    offramp,
    resident_bytes,
)
from benchmarks.speed.ratios import percentile
from serving.bundle import read_bundle

from .book import Round
from .networks import Made

_READY_SECONDS = 600.0
_LEAST_PASSES = 3  # of the pool, where many requests are under way: the first and last answers are a few


@dataclass(frozen=True)
class Row:
    """One server asked in one way.

    Args:
        who: its name on the page.
        running: the server.
        path: where it is asked.
    """

    who: str
    running: Running
    path: str


@contextmanager
def started_rows(
    made: Made,
    precision: str,
    *,
    budgets: Sequence[int],
    flags: Sequence[str],
    peers: Sequence[Peer],
    work: Path,
) -> Iterator[list[Row]]:
    """Start every server of a network; yield the rows, once all of them answer.

    Args:
        made: the network.
        precision: which of its nets.
        budgets: in percent of the full depth.
        flags: of each of our servers, as text; nothing for the defaults.
        peers: full-depth servers.
        work: a folder for logs and environments.
    """
    net = made.nets[precision]
    spec = read_bundle(net.bundle).manifest.preprocessing
    rows = []
    with ExitStack() as stack:
        for number, given in enumerate(flags):
            # The loop is open: a budget then has the exit shares of its plan in every round.
            more = ("--controller", "off", *given.split())
            running = stack.enter_context(offramp(net.bundle, work / f"photo-offramp-{number}.log", *more))
            name = f"offramp {given}".strip()
            rows += [Row(f"{name} at {budget}%", running, _path(budget)) for budget in budgets]
        for peer in peers:
            running = stack.enter_context(serve(peer, net.full, work, spec))
            rows.append(Row(peer.name, running, path_of(peer)))
        for row in rows:
            request = request_bytes(row.path, made.files[0], "image/jpeg")
            wait_for_answer(row.running.port, request, _READY_SECONDS)
        yield rows


def measure(row: Row, files: Sequence[bytes], connections: int, seconds: float, rate: float | None) -> Round:
    """Send whole passes over the pool, for about so many seconds.

    Args:
        row: whom to ask.
        files: the pool, as JPEG.
        connections: how many requests are under way.
        seconds: of load.
        rate: requests a second that the row makes, as far as known; one short pass finds out otherwise.

    Raises:
        RuntimeError: a request failed.
    """
    requests = [request_bytes(row.path, data, "image/jpeg") for data in files]
    if rate is None:
        rate = send_all(row.running.port, requests, max(connections, len(requests) // 2), connections).rate
    least = _LEAST_PASSES if connections > 1 else 1
    total = len(requests) * max(least, round(seconds * rate / len(requests)))
    server, machine = family_cpu_seconds(row.running.pid), machine_cpu_seconds()
    own = time.process_time()
    found = send_all(row.running.port, requests, total, connections)
    used = family_cpu_seconds(row.running.pid) - server
    own, machine = time.process_time() - own, machine_cpu_seconds() - machine
    if found.failed:
        raise RuntimeError(f"{row.who}: {found.failed} of {total} requests failed")
    return {
        "rate": found.rate,
        "cpu_ms": 1e3 * used / total,
        "requests": total,
        "cores": used / found.seconds,
        "client_cores": own / found.seconds,
        "foreign_cores": max(0.0, machine - used - own) / found.seconds,
        "p50_ms": 1e3 * percentile(found.latencies, 0.5),
        "p99_ms": 1e3 * percentile(found.latencies, 0.99),
        "resident_mb": sum(map(_resident, family(row.running.pid))) / 1e6,
    }


def peers() -> tuple[Peer, ...]:
    """The full-depth servers, each as it was quickest in `make bench`: one thread for each computation."""
    return (Peer("mosec", os.cpu_count() or 1, 1), Peer("fastapi", 1, 1))


def _path(budget: int) -> str:
    return f"/classify?budget={budget}%25"


def _resident(pid: int) -> float:
    try:
        return resident_bytes(pid)
    except OSError:
        return 0.0
