"""What threads are worth: operators shared between them, or the rows of a batch.

    python benchmarks/threads.py --out docs/benchmarks/threads          # the poster's size, untrained
    python benchmarks/threads.py exported_models/cifar10 --out runs/threads

All segments of a net one after the other, as the engine runs them, on 1, 2, 4, … threads up to the cores
there are. With *shared* operators every session has all threads; with *slices* the batch is cut, and each
thread takes some of its rows through a session with one thread (`serving.sliced_session`). They take turns,
round by round.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime
from reporting import publish, table
from segment_cost import from_bundle, poster, spread

from serving.arena import share_arena
from serving.bundle import read_bundle
from serving.engine import cores
from serving.helpers import Helpers
from serving.recycled import Recycled
from serving.sliced_session import SlicedSession
from training.onnx_graph import Boundary

Way = Callable[[Any], None]


def opened(segment: bytes, threads: int) -> Any:
    """Open a session as the engine does."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    share_arena(options)
    return onnxruntime.InferenceSession(segment, options, providers=["CPUExecutionProvider"])


def chain(sessions: Sequence[Any], parts: Sequence[Boundary]) -> Way:
    """Run all segments, each on the features of the one before."""

    def run(images: Any) -> None:
        values = [images]
        for session, part in zip(sessions, parts, strict=True):
            feed = dict(zip([spec.name for spec in part.inputs], values, strict=True))
            _, *values = session.run([spec.name for spec in part.outputs], feed)

    return run


def ways(segments: Sequence[bytes], parts: Sequence[Boundary], most: int) -> dict[str, Way]:
    """Every number of threads, both ways."""
    single = [opened(segment, 1) for segment in segments]
    found = {"1 thread": chain(single, parts)}
    for threads in sorted({*(1 << power for power in range(1, most.bit_length())), most} - {1}):
        helpers = Helpers(threads - 1)
        shared = [opened(segment, threads) for segment in segments]
        sliced = [
            SlicedSession(together, alone, threads, helpers, Recycled())
            for together, alone in zip(shared, single, strict=True)
        ]
        found[f"{threads} threads, shared"] = chain(shared, parts)
        found[f"{threads} threads, slices"] = chain(sliced, parts)
    return found


def measure(run: dict[str, Way], images: Any, rounds: int) -> dict[str, list[float]]:
    """Images a second of each way, one per round."""
    rates: dict[str, list[float]] = {name: [] for name in run}
    repeats = max(1, 64 // len(images))
    for way in run.values():
        way(images)
    for _ in range(rounds):
        for name, way in run.items():
            begun = perf_counter()
            for _ in range(repeats):
                way(images)
            rates[name].append(repeats * len(images) / (perf_counter() - begun))
    return rates


def page(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        f"{results['net']}, {results['precision']}, {results['cores']} cores, ONNX Runtime "
        f"{results['onnxruntime']}, {results['rounds']} rounds; least / median / most.",
        "",
    ]
    for batch, rates in results["rates"].items():
        alone = np.array(rates["1 thread"])
        rows = [
            [name, spread(values, 0), spread(np.array(values) / alone, 2)] for name, values in rates.items()
        ]
        head = [f"batch {batch}", "images a second", "of one thread's"]
        lines += [*table(head, rows), ""]
    return "\n".join(lines)


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, nargs="?", help="a bundle; without, the poster's net, untrained")
    parser.add_argument("--precision", choices=["float32", "int8"], default="float32", help="of the latter")
    parser.add_argument("--out", type=Path, required=True, help="path of the results without its ending")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    segments, parts = from_bundle(given.bundle) if given.bundle else poster(given.precision)
    run = ways(segments, parts, cores())
    _, height, width, _ = parts[0].inputs[0].shape
    shape = (max(given.batches), height or 1, width or 1, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    results = {
        "net": given.bundle.name if given.bundle else "MSDNet-7, untrained",
        "precision": read_bundle(given.bundle).manifest.precision if given.bundle else given.precision,
        "cores": cores(),
        "rounds": given.rounds,
        "onnxruntime": onnxruntime.__version__,
        "rates": {batch: measure(run, images[:batch], given.rounds) for batch in given.batches},
    }
    publish(given.out, results, page(results))


if __name__ == "__main__":
    main()
