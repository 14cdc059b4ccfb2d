"""The gain of threads: operators shared between them, or the rows of a batch.

    python -m benchmarks.engine.threads --out docs/benchmarks/threads          # the poster's size, untrained
    python -m benchmarks.engine.threads exported_models/cifar10 --out runs/threads

All segments of a net one after the other, as the engine runs them, on 1, 2, 4, … threads up to the cores
there are. With *shared* operators every session has all threads; with *slices* the batch is cut, and each
thread takes some of its rows through a session with one thread (`serving.engine.row_parallel`). They take
turns, round by round.
"""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime

from benchmarks.engine.plain_session import plain_session
from benchmarks.engine.segmented import chosen, command_line
from benchmarks.reporting import publish, spread, table
from serving.engine.backends.onnx_backend import OnnxSession
from serving.engine.buffer_pool import BufferPool
from serving.engine.row_parallel import RowParallelSession
from serving.engine.sessions import cores
from serving.engine.thread_pool import DaemonPool
from training.exporting.graph import Boundary

Way = Callable[[Any], None]


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
    single = [plain_session(segment, 1, arena=True) for segment in segments]
    found = {"1 thread": chain(single, parts)}
    for threads in sorted({*(1 << power for power in range(1, most.bit_length())), most} - {1}):
        helpers = DaemonPool(threads - 1)
        shared = [plain_session(segment, threads, arena=True) for segment in segments]
        sliced = [
            RowParallelSession(OnnxSession(together), OnnxSession(alone), threads, helpers, BufferPool())
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
    given = command_line(__doc__).parse_args()
    net = chosen(given.bundle, given.precision)
    run, images = ways(net.segments, net.parts, cores()), net.images(max(given.batches))
    results = {
        "net": net.net,
        "precision": net.precision,
        "cores": cores(),
        "rounds": given.rounds,
        "onnxruntime": onnxruntime.__version__,
        "rates": {batch: measure(run, images[:batch], given.rounds) for batch in given.batches},
    }
    publish(given.out, results, page(results))


if __name__ == "__main__":
    main()
