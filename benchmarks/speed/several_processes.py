"""One process against several on one port: requests a second, and processor time of a request.

    M=exported_models
    python -m benchmarks.speed.several_processes $M/cifar10-ladder-int8 $M/cifar10-msdnet-int8

All servers are started first and loaded in turn, with 64 connections of wrk, for `--rounds` rounds: what
drifts on the machine drifts for all. Processor time is that of the server's process and its children; noise
moves it little. The settings of each server are a user's: every core is used. Takes about 2 minutes for two
bundles. `--out` writes the figures as JSON, beside the table that is printed.
"""

import argparse
import io
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.speed.processes import Running, family_cpu_seconds, offramp
from benchmarks.speed.wrk import CONNECTIONS, install, load
from serving.bundle import read_bundle

BUDGET = "50%25"
IMAGES = 256


@dataclass(frozen=True)
class Round:
    """One round of one server: requests a second, processor milliseconds of each, cores used, latencies."""

    requests_per_second: float
    cpu_ms: float
    cores: float
    p50_ms: float
    p99_ms: float


def write_images(bundle: Path, folder: Path) -> None:
    """Write noise of the size that a bundle takes, as PNG files."""
    spec = read_bundle(bundle).manifest.preprocessing
    random = np.random.default_rng(0)
    folder.mkdir()
    for number in range(IMAGES):
        low = Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        size = (spec.width, spec.height)
        stream = io.BytesIO()
        low.resize(size, Image.Resampling.BICUBIC).save(stream, "PNG")
        (folder / f"{number:04d}.png").write_bytes(stream.getvalue())


def measure(wrk: str, server: Running, images: Path, seconds: float) -> Round:
    """Load a server for a while."""
    before = family_cpu_seconds(server.pid)
    seen = load(wrk, server.url(f"/classify?budget={BUDGET}"), images, seconds)
    spent = family_cpu_seconds(server.pid) - before
    if seen.failed:
        raise RuntimeError(f"{seen.failed} requests failed")
    rate = seen.requests_per_second
    return Round(rate, 1000 * spent / seen.requests, spent / seconds, seen.p50_ms, seen.p99_ms)


def compare(
    bundle: Path,
    processes: Sequence[str],
    *,
    rounds: int,
    seconds: float,
    scratch: Path,
) -> dict[str, list[Round]]:
    """Load servers of a bundle in turn; return the rounds of each, by how many processes it has."""
    wrk, images = install(), scratch / f"{bundle.name}-images"
    write_images(bundle, images)
    found: dict[str, list[Round]] = {count: [] for count in processes}
    with ExitStack() as stack:
        servers = {
            count: stack.enter_context(
                offramp(bundle, scratch / f"{bundle.name}-{place}.log", "--processes", *count.split())
            )
            for place, count in enumerate(processes)
        }
        for server in servers.values():
            measure(wrk, server, images, min(2.0, seconds))
        for _ in range(rounds):
            for count, server in servers.items():
                found[count].append(measure(wrk, server, images, seconds))
    return found


def table(found: dict[str, dict[str, list[Round]]]) -> str:
    """Return the figures as a table in Markdown: least / median / most."""
    lines = [
        "| bundle | processes | requests/s | processor ms a request | cores used | p50 ms | p99 ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for bundle, by_count in found.items():
        for count, rounds in by_count.items():
            cells = [
                " / ".join(f"{each:.{digits}f}" for each in _spread([getattr(r, name) for r in rounds]))
                for name, digits in (
                    *(("requests_per_second", 0), ("cpu_ms", 2), ("cores", 2)),
                    *(("p50_ms", 1), ("p99_ms", 1)),
                )
            ]
            lines.append(f"| {bundle} | {count} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument(
        "--processes", nargs="+", default=["1", "2"], help='how many, and more flags: "2 --decode-threads 0"'
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--out", type=Path, help="gets the figures as JSON")
    arguments = parser.parse_args(argv)
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for bundle in arguments.bundles:
            found[bundle.name] = compare(
                bundle,
                arguments.processes,
                rounds=arguments.rounds,
                seconds=arguments.seconds,
                scratch=Path(scratch),
            )
    print(f"{len(os.sched_getaffinity(0))} cores, {CONNECTIONS} connections, budget 50%\n")
    print(table(found))
    if arguments.out is not None:
        figures = {
            bundle: {count: [asdict(each) for each in rounds] for count, rounds in by_count.items()}
            for bundle, by_count in found.items()
        }
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
