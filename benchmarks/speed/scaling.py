"""Where one Python process stops scaling: a simulation of measured times for machines with more cores.

    python -m benchmarks.speed.scaling --network-ms 1.04 --python-ms 0.58 --cores 2 8 16 32 64

A closed loop of callers, each of whom sends the next request when the last one is answered. A process runs
batches one after the other. A batch takes the interpreter for `python_ms` a request, which nothing else of
the process can do meanwhile, and its network for `network_ms` an image, which its threads share: a batch of
10 over 4 threads takes as long as 3 images. While the network runs, the interpreter reads and answers other
requests. Callers are divided evenly between the processes.

The times are those of one request on one core; `several_processes` and `benchmarks.engine` measure them.
Left out: memory bandwidth, the shared last-level cache, clocks that fall with the number of busy cores, the
load generator. The figures are therefore upper bounds, and their ratios the point.
"""

import argparse
import heapq
import math
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from serving.processes.automatic import process_count

MOST_BATCH = 32
WARM_UP = 0.2
"""The share of the simulated requests that is left out at the start."""


@dataclass(frozen=True)
class Machine:
    """What is simulated.

    Args:
        cores: all of which the server has.
        processes: that share them.
        network_seconds: of an image on one core, all stages together.
        python_seconds: for which a request holds the interpreter: half before its batch and half after.
        callers: each with one request under way.
    """

    cores: int
    processes: int
    network_seconds: float
    python_seconds: float
    callers: int


def requests_per_second(machine: Machine, requests: int = 20_000) -> float:
    """Simulate so many requests and return how many a second were answered, after a warm-up.

    >>> one = Machine(cores=1, processes=1, network_seconds=0.009, python_seconds=0.001, callers=64)
    >>> round(requests_per_second(one, 2000))
    100
    """
    threads = [
        machine.cores // machine.processes + (place < machine.cores % machine.processes)
        for place in range(machine.processes)
    ]
    processes = [_Process(max(1, count), machine) for count in threads]
    events: list[tuple[float, int, int]] = []
    for caller in range(machine.callers):
        processes[caller % len(processes)].waiting.append(0.0)
    for place, process in enumerate(processes):
        if process.waiting:
            heapq.heappush(events, (process.run(0.0), place, len(process.under_way)))
    done, warm_at, now = 0, 0.0, 0.0
    warm = int(WARM_UP * requests)
    while done < requests:
        now, place, count = heapq.heappop(events)
        process = processes[place]
        done += count
        if not warm_at and done >= warm:
            warm_at, warm = now, done
        process.waiting.extend([now] * count)
        heapq.heappush(events, (process.run(now), place, len(process.under_way)))
    return (done - warm) / (now - warm_at)


class _Process:
    """One process: its callers' requests wait, a batch runs, and Python takes its turns."""

    def __init__(self, threads: int, machine: Machine) -> None:
        self._threads, self._machine = threads, machine
        self.waiting: deque[float] = deque()
        self.under_way: list[float] = []

    def run(self, now: float) -> float:
        """Take a batch of what waits; return when it is answered."""
        count = min(MOST_BATCH, len(self.waiting))
        self.under_way = [self.waiting.popleft() for _ in range(count)]
        machine = self._machine
        rows = math.ceil(count / self._threads)  # of the busiest thread
        network = rows * machine.network_seconds
        python = count * machine.python_seconds
        if self._threads == 1:  # the one core does both
            return now + network + python
        # Requests of other batches are read and answered while this one computes; the rest of Python, between
        # stages, stands in the way.
        hidden = min(network, python / 2)
        return now + network + python - hidden


def table(network_ms: float, python_ms: float, cores: Sequence[int]) -> str:
    """Return a table in Markdown: one process, one per core, and what `auto` starts."""
    lines = [
        "| cores | 1 process | one per core | ratio | `auto` starts | requests/s |",
        "|---|---|---|---|---|---|",
    ]
    for count in cores:
        auto = process_count(count, network_ms / 1000, python_seconds=python_ms / 1000)
        one, each, chosen = (
            requests_per_second(
                Machine(count, processes, network_ms / 1000, python_ms / 1000, callers=64 * count)
            )
            for processes in (1, count, auto)
        )
        lines.append(f"| {count} | {one:,.0f} | {each:,.0f} | {each / one:.1f} | {auto} | {chosen:,.0f} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network-ms", type=float, nargs="+", required=True)
    parser.add_argument("--python-ms", type=float, required=True)
    parser.add_argument("--cores", type=int, nargs="+", default=[2, 8, 16, 32, 64])
    arguments = parser.parse_args(argv)
    for network_ms in arguments.network_ms:
        print(f"network {network_ms:g} ms an image, Python {arguments.python_ms:g} ms a request\n")
        print(table(network_ms, arguments.python_ms, arguments.cores), end="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
