"""The floors under a server of photographs: ONNX Runtime alone, on the rows that reach each stage.

Two ways of using the cores: a session of one thread on each core side by side, or one session that shares
every operator between them.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from benchmarks.engine.plain_session import plain_session
from benchmarks.speed.floors import Feed, Path, Raw
from serving.bundle import Bundle
from serving.engine.sessions import cores
from serving.images.decode import decode
from serving.images.preprocessing import Preprocessing

from .book import Round

_BATCH = 8
_MAX_PIXELS = 25_000_000


class Floors:
    """One network in one precision.

    Args:
        bundle: of it.
        full: the same at full depth, an ONNX file.
        pixels: uint8 [N, H, W, 3].
        budgets: in percent.
    """

    def __init__(
        self, bundle: Bundle, full: bytes, pixels: npt.NDArray[np.uint8], budgets: Sequence[int]
    ) -> None:
        self._images = len(pixels)
        self._alone, self._shared = Raw(bundle, threads=1), Raw(bundle)
        self._paths = {
            budget: self._alone.path(pixels, f"{budget}%", _BATCH) for budget in budgets if budget < 100
        }
        self._full = {1: plain_session(full, 1), 0: plain_session(full)}
        self._batches = np.array_split(pixels, -(-len(pixels) // _BATCH))

    @property
    def names(self) -> list[str]:
        """Of the floors."""
        depths = [*(f"{budget}%" for budget in self._paths), "full depth"]
        return [f"raw {way} at {depth}" for depth in depths for way in ("side by side", "shared")]

    def shares(self, budget: int) -> list[float]:
        """The share of the images that leaves at each exit."""
        path = self._paths[budget]
        exits = 1 + max(stage for stage, _ in path.batches)
        counts = np.bincount(path.exits, minlength=exits)
        return [round(float(count) / self._images, 4) for count in counts]

    def measure(self, name: str) -> Round:
        """Run one floor once."""
        way, _, depth = name.removeprefix("raw ").partition(" at ")
        jobs = self._jobs(way, depth)
        workers = cores() if way == "side by side" else 1
        with ThreadPoolExecutor(workers) as pool:
            began, used = time.perf_counter(), time.process_time()
            list(pool.map(lambda job: job(), jobs))
            seconds, processor = time.perf_counter() - began, time.process_time() - used
        return {"rate": self._images / seconds, "cpu_ms": 1e3 * processor / self._images}

    def _jobs(self, way: str, depth: str) -> list[Callable[[], object]]:
        if depth == "full depth":
            session = self._full[1 if way == "side by side" else 0]
            name = session.get_inputs()[0].name
            return [_bound(session.run, None, {name: batch}) for batch in self._batches]
        raw = self._alone if way == "side by side" else self._shared
        path: Path = self._paths[int(depth.rstrip("%"))]
        return [_bound(raw.run, stage, feed) for stage, feed in path.batches]


def _bound(run: Callable[..., object], first: object, feed: Feed) -> Callable[[], object]:
    return lambda: run(first, feed)


def decode_milliseconds(files: Sequence[bytes], spec: Preprocessing) -> float:
    """Processor time that the server's decoder takes for one picture of the pool."""
    started = time.thread_time()
    for data in files:
        decode(data, spec, _MAX_PIXELS)
    return 1e3 * (time.thread_time() - started) / len(files)
