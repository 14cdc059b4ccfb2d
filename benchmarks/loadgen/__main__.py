"""The highest rate whose 99th percentile stays within a bound, for each budget, driven by MLCommons' LoadGen.

    python -m benchmarks.loadgen                                  a shipped bundle, about 10 minutes
    python -m benchmarks.loadgen BUNDLE --budgets 50,100 --bound-ms 200 --seconds 8 --flags "--processes 2"

Offline first, then a bisection of the Server scenario's Poisson arrivals below that rate, then SingleStream.
LoadGen runs in an environment of its own, on the same machine. Writes OUT.json and OUT.md.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.methods.poster_bundle import pool, write_pngs
from benchmarks.photo import pictures
from benchmarks.reporting import publish
from benchmarks.speed.client import request_bytes, wait_for_answer
from benchmarks.speed.environments import python_of
from benchmarks.speed.machine import machine
from benchmarks.speed.processes import Running, offramp
from serving.bundle import Bundle, read_bundle

from .page import page

ROOT = Path(__file__).parents[2]
WORK = ROOT / "benchmarks" / ".work"
OUT = ROOT / "docs" / "benchmarks" / "loadgen"
_SMALL_SIDE = 96
_IMAGES = 256
_FIRST_RATE = 100.0


@dataclass(frozen=True)
class Target:
    """A server and what it is asked with.

    Args:
        running: the server.
        images: a folder of encoded images.
        content_type: of them.
        connections: that are open at a time.
        seconds: of each test, at least.
    """

    running: Running
    images: Path
    content_type: str
    connections: int
    seconds: float

    def run(self, scenario: str, budget: int, rate: float, bound_ms: float = 0.0) -> dict[str, Any]:
        """Run one test; return LoadGen's summary by its own names.

        Raises:
            RuntimeError: LoadGen or a request failed.
        """
        logs = WORK / "loadgen"
        shutil.rmtree(logs, ignore_errors=True)
        logs.mkdir(parents=True)
        test = {
            "port": self.running.port,
            "path": f"/classify?budget={budget}%25",
            "content_type": self.content_type,
            "images": str(self.images),
            "connections": 1 if scenario == "SingleStream" else self.connections,
            "scenario": scenario,
            "rate": rate,
            "bound_ms": bound_ms,
            "seconds": self.seconds,
            "logs": str(logs),
        }
        (logs / "test.json").write_text(json.dumps(test))
        command = [str(python_of("loadgen", WORK)), str(Path(__file__).with_name("driver.py"))]
        ended = subprocess.run(
            [*command, str(logs / "test.json")], check=False, capture_output=True, text=True, timeout=900
        )
        lines = [line for line in ended.stdout.splitlines() if line.startswith("RESULT ")]
        if ended.returncode or not lines:
            raise RuntimeError(f"LoadGen failed: {ended.stdout[-500:]}{ended.stderr[-500:]}")
        found = json.loads(lines[0].removeprefix("RESULT "))
        if found["failed"]:
            raise RuntimeError(f"{scenario} at {budget}%: {found['failed']} requests failed")
        summary: dict[str, Any] = found["summary"]
        return summary


def highest_rate(
    try_at: Callable[[float], dict[str, Any]], most: float, steps: int
) -> tuple[float, dict[str, Any] | None]:
    """Bisect the rates below `most` for the highest one whose 99th percentile LoadGen finds within the bound.

    Its verdict also asks for more queries than short tests at low rates have; the page shows it beside.

    Args:
        try_at: runs the Server scenario at a rate; returns its summary.
        most: requests a second that no server can exceed.
        steps: tests to run.

    Returns:
        The rate and its summary; 0 and None where no rate was within it.
    """
    low, high = 0.0, most
    best: dict[str, Any] | None = None
    rate = 0.8 * most
    for _ in range(steps):
        summary = try_at(rate)
        if summary["Performance constraints satisfied"] == "Yes":
            low, best = rate, summary
        else:
            high = rate
        rate = (low + high) / 2
    return low, best


def measure(target: Target, budget: int, bound_ms: float, steps: int) -> dict[str, Any]:
    """All scenarios under one budget."""
    target.run("Offline", budget, _FIRST_RATE)  # the first seconds of a server are not its rate
    offline = target.run("Offline", budget, _FIRST_RATE)
    most = float(offline["Samples per second"])
    offline = target.run("Offline", budget, most)
    most = float(offline["Samples per second"])
    rate, server = highest_rate(lambda at: target.run("Server", budget, at, bound_ms), most, steps)
    single = target.run("SingleStream", budget, most)
    print(f"{budget}%: offline {most:.1f}, server {rate:.1f} a second", flush=True)
    return {"budget": budget, "offline": offline, "server_rate": rate, "server": server, "single": single}


@contextmanager
def opened(given: argparse.Namespace, bundle: Bundle) -> Iterator[Target]:
    """Start the server and make its images."""
    side = bundle.manifest.preprocessing.width
    small = side < _SMALL_SIDE
    images = WORK / f"loadgen-images-{'small' if small else 'photo'}"
    shutil.rmtree(images, ignore_errors=True)
    if small:
        write_pngs(images, pool(_IMAGES))
    else:
        pictures.write(images)
    content_type = "image/png" if small else "image/jpeg"
    with offramp(given.bundle, WORK / "loadgen-server.log", *given.flags.split()) as running:
        first = next(iter(sorted(images.iterdir()))).read_bytes()
        wait_for_answer(running.port, request_bytes("/classify", first, content_type), 300)
        yield Target(running, images, content_type, given.connections, given.seconds)


def main() -> int:
    """Measure every budget, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shipped = ROOT / "exported_models" / "cifar10-msdnet-int8"
    parser.add_argument("bundle", type=Path, nargs="?", default=shipped)
    parser.add_argument("--budgets", default="100,70,50,30", help="percent of full depth")
    parser.add_argument("--bound-ms", type=float, default=100.0, help="of the 99th percentile")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each test, at least")
    parser.add_argument("--steps", type=int, default=6, help="of the search for the rate")
    parser.add_argument("--connections", type=int, default=128)
    parser.add_argument("--flags", default="", help="of our server, as text")
    parser.add_argument("--out", type=Path, default=OUT, help="path of JSON and page without their endings")
    given = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    bundle = read_bundle(given.bundle)
    with opened(given, bundle) as target:
        rows = [
            measure(target, int(budget), given.bound_ms, given.steps) for budget in given.budgets.split(",")
        ]
    results = {
        "bundle": bundle.name,
        "machine": machine(bundle),
        "bound_ms": given.bound_ms,
        "seconds": given.seconds,
        "flags": given.flags,
        "rows": rows,
    }
    publish(given.out, results, page(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
