"""What does a replacement cost the requests that come in meanwhile? None may be lost.

    python -m benchmarks.replacing exported_models/cifar10-ladder-int8 --rate 60

A real server answers single images that come at random moments (Poisson), first in peace, then while its
model is replaced again and again without a pause, each time by a bundle with another manifest, then in peace
again. The exit status is 1 if a request was not answered with 200, or if the 99th percentile of the latency
while replacing is twice that in peace, or more. Where other work runs beside it, the two times of peace
differ.
"""

import argparse
import asyncio
import http.client
import json
import shutil
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np

from benchmarks.speed.client import as_png, request_bytes
from benchmarks.speed.open_loop import Seen, poisson
from benchmarks.speed.ratios import percentile
from serving.bundle import read_bundle
from training.demo.server import started_server

ALLOWED = 2.0
"""How much longer the 99th percentile may be."""


def requests_of(size: tuple[int, int], budget: str, count: int) -> list[bytes]:
    """Make requests, each of one PNG of noise."""
    images = np.random.default_rng(0).integers(0, 256, (count, *size, 3), dtype=np.uint8)
    return [request_bytes(f"/classify?budget={budget}", as_png(image)) for image in images]


def replace(folder: Path, port: int, number: int) -> float:
    """Give a bundle another manifest, have it loaded, and say how many seconds that took."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) | {"git_revision": f"replacement {number}"}
    path.write_text(json.dumps(manifest))
    started = time.monotonic()
    with closing(http.client.HTTPConnection("127.0.0.1", port, 120)) as connection:
        connection.request("POST", f"/v2/repository/models/{folder.name}/load")
        response = connection.getresponse()
        answer = response.read().decode()
    if response.status != 200:
        raise RuntimeError(f"the load was refused: {answer}")
    return time.monotonic() - started


def replace_until(folder: Path, port: int, over: float) -> list[float]:
    """Replace a model again and again; return the seconds of each."""
    took: list[float] = []
    while time.monotonic() < over:
        took.append(replace(folder, port, len(took)))
    return took


async def measure(
    folder: Path, port: int, requests: list[bytes], rate: float, seconds: float
) -> tuple[Seen, Seen, Seen, list[float]]:
    """Load a server in peace, while its model is replaced, and in peace again."""
    await poisson(port, requests, rate, 2.0, seed=0)
    before = await poisson(port, requests, rate, seconds, seed=1)
    over = time.monotonic() + seconds
    replacing = asyncio.create_task(asyncio.to_thread(replace_until, folder, port, over))
    during = await poisson(port, requests, rate, seconds, seed=2)
    took = await replacing
    return before, during, await poisson(port, requests, rate, seconds, seed=3), took


def all_of(*loads: Seen) -> list[float]:
    """The seconds of every answer, rising."""
    return sorted(value for seen in loads for values in seen.seconds.values() for value in values)


def line(name: str, seen: Seen) -> str:
    """Describe what came of a load."""
    seconds = all_of(seen)
    p50, p99 = (1000 * percentile(seconds, share) for share in (0.5, 0.99))
    return f"{name:16}{len(seconds):6} answered {seen.failed:3} not   p50 {p50:6.1f} ms   p99 {p99:6.1f} ms"


def main() -> int:
    """Measure, print and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rate", type=float, default=60, help="requests a second")
    parser.add_argument("--seconds", type=float, default=30, help="of each phase")
    parser.add_argument("--budget", default="50%25", help="of every request, as in a URL")
    parser.add_argument("--threads", type=int, default=0, help="of the server; one a core if 0")
    given = parser.parse_args()
    spec = read_bundle(given.bundle).manifest.preprocessing
    requests = requests_of((spec.height, spec.width), given.budget, 64)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "models" / given.bundle.name
        shutil.copytree(given.bundle, folder)
        flags = ("--allow-admin", "--drain-seconds", "0", "--threads", str(given.threads))
        with started_server(folder.parent, Path(place) / "log", *flags) as server:
            found = asyncio.run(measure(folder, server.port, requests, given.rate, given.seconds))
    before, during, after, took = found
    for name, seen in (("before", before), ("while replacing", during), ("after", after)):
        sys.stdout.write(f"{line(name, seen)}\n")
    sys.stdout.write(f"{len(took)} replacements, {np.median(took):.1f} s each (median)\n")
    ratio = percentile(all_of(during), 0.99) / percentile(all_of(before, after), 0.99)
    sys.stdout.write(f"p99 while replacing / in peace: {ratio:.2f} (less than {ALLOWED:g} is asked for)\n")
    return int(any(seen.failed for seen in (before, during, after)) or ratio >= ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
