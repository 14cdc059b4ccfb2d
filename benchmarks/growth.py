"""What becomes of the server as things grow: requests answered, connections open, models loaded.

    python -m benchmarks.growth                                a million mixed requests and all else, an hour
    python -m benchmarks.growth --requests 20000 --seconds 2   about four minutes

Every step has requests a second, the server's processor time for a request, and its resident memory. The
mixed requests are those of `benchmarks.attack.soak`, to a small network; connections and models are measured
on a shipped bundle. Writes OUT.json and OUT.md; ends with 1 where the mixed requests made something grow.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.attack.soak import soak
from benchmarks.methods.poster_bundle import pool
from benchmarks.reporting import publish, table
from benchmarks.speed.client import Connection, as_png, request_bytes, wait_for_answer
from benchmarks.speed.closed_loop import send_all
from benchmarks.speed.machine import machine
from benchmarks.speed.processes import Running, family, family_cpu_seconds, offramp, resident_bytes
from benchmarks.speed.ratios import percentile
from serving.bundle import read_bundle

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "benchmarks" / "growth"
_IMAGES = 128
_MODELS_CONNECTIONS = 64


def under_load(
    running: Running, requests: Sequence[bytes], connections: int, seconds: float
) -> dict[str, float]:
    """Send requests over some connections for about so many seconds.

    Raises:
        RuntimeError: a request failed.
    """
    warm = send_all(running.port, requests, 2 * max(len(requests), connections), connections)
    total = max(4 * connections, round(seconds * warm.rate))
    used = family_cpu_seconds(running.pid)
    found = send_all(running.port, requests, total, connections)
    used = family_cpu_seconds(running.pid) - used
    if found.failed:
        raise RuntimeError(f"{found.failed} of {total} requests failed over {connections} connections")
    return {
        "requests/s": found.rate,
        "processor ms a request": 1e3 * used / total,
        "p50 ms": 1e3 * percentile(found.latencies, 0.5),
        "p99 ms": 1e3 * percentile(found.latencies, 0.99),
        "MB resident": sum(map(resident_bytes, family(running.pid))) / 1e6,
        "bytes of /metrics": _metrics_bytes(running.port),
    }


def by_connections(bundle: Path, log: Path, counts: Sequence[int], seconds: float) -> list[dict[str, float]]:
    """One server under more and more connections."""
    requests = [request_bytes("/classify?budget=50%25", as_png(image)) for image in pool(_IMAGES)]
    with offramp(bundle, log, "--max-connections", str(2 * max(counts))) as running:
        wait_for_answer(running.port, requests[0], 300)
        return [{"connections": count, **under_load(running, requests, count, seconds)} for count in counts]


def by_models(bundle: Path, log: Path, counts: Sequence[int], seconds: float) -> list[dict[str, float]]:
    """Servers of more and more models, all of which are asked in turn."""
    images, rows = pool(_IMAGES), []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            names = [f"model-{number:02d}" for number in range(count)]
            for name in names:
                shutil.copytree(bundle, Path(folder) / name)
            requests = [
                request_bytes(f"/classify?budget=50%25&model={names[place % count]}", as_png(image))
                for place, image in enumerate(images)
            ]
            with offramp(Path(folder), log) as running:
                wait_for_answer(running.port, requests[-1], 300)
                rows.append({"models": count, **under_load(running, requests, _MODELS_CONNECTIONS, seconds)})
    return rows


def page(results: dict[str, Any]) -> str:
    """The whole page."""
    computer = results["machine"]
    lines = [
        "# Growth",
        "",
        "Written by `python -m benchmarks.growth`; the load comes from the same cores.",
        "",
        f"{computer['cores']} cores ({computer['cpu']}), ONNX Runtime {computer['onnxruntime']}.",
    ]
    if mixed := results.get("mixed"):
        rows = [
            [name, f"{value:,.2f}", f"{mixed['last'][name]:,.2f}"] for name, value in mixed["first"].items()
        ]
        head = ["", "first tenth", "last tenth"]
        lines += ["", f"## {mixed['requests']:,} mixed requests", "", *table(head, rows)]
        grew = ", ".join(mixed["grown"]) or "nothing"
        lines += ["", f"Grew by more than chance explains: {grew}. Faults of the server: {mixed['faults']}."]
    for key, title in (
        ("connections", f"Connections ({results['bundle']}, 50%)"),
        ("models", f"Models loaded ({results['bundle']} so many times, {_MODELS_CONNECTIONS} connections)"),
    ):
        if measured := results.get(key):
            cells = [[f"{value:,.2f}".removesuffix(".00") for value in row.values()] for row in measured]
            lines += ["", f"## {title}", "", *table(list(measured[0]), cells)]
    return "\n".join(lines) + "\n"


def _metrics_bytes(port: int) -> float:
    connection = Connection(port)
    reply = connection.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    connection.close()
    return float(len(reply.body))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(",") if number)


def main() -> int:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shipped = ROOT / "exported_models" / "cifar10-ladder-int8"
    parser.add_argument("--bundle", type=Path, default=shipped)
    parser.add_argument("--requests", type=int, default=1_000_000, help="mixed ones; 0 leaves them out")
    parser.add_argument("--connections", type=_numbers, default=(1, 4, 16, 64, 256, 512))
    parser.add_argument("--models", type=_numbers, default=(1, 2, 4, 8, 16))
    parser.add_argument("--seconds", type=float, default=8.0, help="of load in each step")
    parser.add_argument("--out", type=Path, default=OUT, help="path of JSON and page without their endings")
    given = parser.parse_args()
    bundle = read_bundle(given.bundle)
    results: dict[str, Any] = {"bundle": bundle.name, "machine": machine(bundle)}
    fine = True
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        if given.connections:
            results["connections"] = by_connections(given.bundle, log, given.connections, given.seconds)
        if given.models:
            results["models"] = by_models(given.bundle, log, given.models, given.seconds)
    if given.requests:
        mixed = soak(given.requests)
        fine = mixed.fine
        results["mixed"] = {
            "requests": given.requests,
            "first": mixed.first,
            "last": mixed.last,
            "statuses": mixed.statuses,
            "grown": mixed.grown,
            "faults": mixed.faults,
        }
    publish(given.out, results, page(results))
    return int(not fine)


if __name__ == "__main__":
    sys.exit(main())
