"""Does memory stay flat? Many images through a model in one process, in requests of all sizes and promises.

    python -m benchmarks.soak exported_models/msdnet7 --images 200000

Requests of 1 to `--largest` images, at budgets from the cheapest exit to the full depth, some with hard
budgets or deadlines, some abandoned, keep up to half a queue waiting. After a tenth of the images all has
been allocated that will be: the exit status is 1 if resident memory then grows by more than `--allowed-mb`.
"""

import argparse
import os
import random
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.processes import resident_bytes
from serving.errors import DeadlineError, OfframpError
from serving.model import Model, ServingConfig
from serving.options import ClassifyOptions
from serving.telemetry.metrics import Metrics

QUEUE_ROWS = 1024
LINES = 20
BUDGETS = ("20%", "35%", "50%", "75%", "100%")


def ask(draw: random.Random) -> ClassifyOptions:
    """Options of a request: an average budget mostly."""
    budget, kind = draw.choice(BUDGETS), draw.random()
    if kind < 0.05:
        return ClassifyOptions(budget=budget, mode="hard")
    return ClassifyOptions(budget=budget, deadline_seconds=60.0 if kind < 0.1 else None)


def soak(model: Model, total: int, largest: int) -> list[float]:
    """Send `total` images; return resident memory in MB, `LINES` times."""
    draw = random.Random(0)
    size_of = model.manifest.preprocessing
    shape = (largest, size_of.height, size_of.width, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    under_way: deque[Any] = deque()
    waiting = sent = 0
    seen: list[float] = []
    started = time.monotonic()
    while sent < total:
        size = draw.randint(1, largest)
        request = model.submit(images[:size], ask(draw))
        under_way.append((size, request))
        waiting += size
        sent += size
        if draw.random() < 0.02:
            request.cancel()
        while waiting > QUEUE_ROWS // 2:
            waiting -= _settle(under_way)
        if sent * LINES // total > len(seen):
            seen.append(resident_bytes(os.getpid()) / 1e6)
            rate = sent / (time.monotonic() - started)
            print(f"{sent:9,} images  {seen[-1]:7.1f} MB  {rate:7.0f} images/s", flush=True)
    while under_way:
        _settle(under_way)
    return seen


def _settle(under_way: deque[Any]) -> int:
    """Wait for the oldest request, whatever becomes of it, and say how many images it had."""
    size, request = under_way.popleft()
    if not request.future.cancelled():
        with suppress(DeadlineError):
            request.future.result()
    return int(size)


def main() -> int:
    """Soak a bundle, print and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--largest", type=int, default=64, help="images in one request")
    parser.add_argument("--allowed-mb", type=float, default=20.0, help="growth after the first tenth")
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    metrics = Metrics()
    try:
        with Model.load(
            given.bundle,
            threads=given.threads,
            max_queue_rows=QUEUE_ROWS,
            rules=ServingConfig(sample_share=0.01),
            emit=metrics,
        ) as model:
            seen = soak(model, given.images, given.largest)
    except OfframpError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    settled = seen[LINES // 10 :]
    growth = max(settled) - settled[0]
    print(f"grew by {growth:.1f} MB after the first tenth, {given.allowed_mb:g} are allowed")
    return int(growth > given.allowed_mb)


if __name__ == "__main__":
    sys.exit(main())
