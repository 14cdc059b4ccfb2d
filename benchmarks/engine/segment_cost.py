"""The cost of cutting a net into segments, boundary by boundary.

    python -m benchmarks.engine.segment_cost --out docs/benchmarks/segment_cost  # untrained
    python -m benchmarks.engine.segment_cost --precision int8 --out docs/benchmarks/segment_cost_int8
    python -m benchmarks.engine.segment_cost exported_models/cifar10 --out runs/cost

One ONNX Runtime session each for: the whole net with its last exit alone; the chain of all segments; the
chain with no head but the last; and, for every boundary, the two halves of a net cut there and nowhere else.
They take turns, round by round. A boundary's cost is what the two halves take more than the whole net: what
it costs to put features out and take them in again, and whatever the optimiser cannot do across it. What
heads cost is the first chain less the second.
"""

import math
from collections.abc import Callable, Sequence
from time import perf_counter, process_time
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.utils
import onnxruntime

from benchmarks.engine.plain_session import plain_session
from benchmarks.engine.segmented import chosen, command_line
from benchmarks.reporting import publish, spread, table
from serving.bundle import TensorSpec
from training.exporting.graph import Boundary

Tensors = list[npt.NDArray[Any]]
Step = Callable[[Tensors], Tensors]
CLOCKS = {"wall": perf_counter, "cpu": process_time}


def joined(segments: Sequence[bytes], parts: Sequence[Boundary], *, head: bool) -> onnx.ModelProto:
    """Join neighbouring segments to one graph without the heads on the way.

    Args:
        segments: the ONNX file of each.
        parts: their boundaries.
        head: keep the last one's probabilities, and nothing else; without, its features alone.
    """
    crossing = {spec.name for part in parts for spec in (*part.inputs, *part.outputs)}
    pieces: list[onnx.ModelProto] = []
    for number, (data, part) in enumerate(zip(segments, parts, strict=True)):
        last = number == len(segments) - 1
        wanted = [spec.name for spec in ([part.outputs[0]] if head and last else part.outputs[1:])]
        inputs = [spec.name for spec in part.inputs]
        piece = onnx.utils.Extractor(onnx.load_from_string(data)).extract_model(inputs, wanted)
        for tensor in piece.graph.initializer:
            tensor.name = f"{number}/{tensor.name}"
        for node in piece.graph.node:
            node.name = f"{number}/{node.name}" if node.name else ""
            for names in (node.input, node.output):
                for place, name in enumerate(names):
                    names[place] = name if name in crossing or not name else f"{number}/{name}"
        pieces.append(piece)
    whole = pieces[0]
    for piece in pieces[1:]:
        whole.graph.node.extend(piece.graph.node)
        whole.graph.initializer.extend(piece.graph.initializer)
    outputs = list(pieces[-1].graph.output)
    del whole.graph.output[:], whole.graph.value_info[:]
    whole.graph.output.extend(outputs)
    return whole


def step(model: onnx.ModelProto | bytes, inputs: Sequence[TensorSpec], threads: int) -> Step:
    """Open a session and return what runs it: inputs in order to outputs in order."""
    data = model if isinstance(model, bytes) else model.SerializeToString()
    session = plain_session(data, threads)
    names, outputs = [spec.name for spec in inputs], [value.name for value in session.get_outputs()]
    return lambda values: session.run(outputs, dict(zip(names, values, strict=True)))


def chain(steps: Sequence[tuple[Step, int]]) -> Step:
    """Run steps one after the other, each on what the one before puts out from a place on."""

    def run(values: Tensors) -> Tensors:
        for run_one, skipped in steps:
            values = run_one(values)[skipped:]
        return values

    return run


def ways(segments: list[bytes], parts: list[Boundary], threads: int) -> dict[str, Step]:
    """All ways through the net to the last exit that are compared."""

    def piece(start: int, end: int, *, head: bool) -> Step:
        model = joined(segments[start:end], parts[start:end], head=head)
        return step(model, parts[start].inputs, threads)

    count = len(segments)
    heads = [
        (step(data, part.inputs, threads), 1 if number < count else 0)
        for number, (data, part) in enumerate(zip(segments, parts, strict=True), start=1)
    ]
    bare = [(piece(index, index + 1, head=index == count - 1), 0) for index in range(count)]
    found = {"whole": piece(0, count, head=True), "segments": chain(heads), "without heads": chain(bare)}
    for boundary in range(1, count):
        halves = [(piece(0, boundary, head=False), 0), (piece(boundary, count, head=True), 0)]
        found[f"boundary {boundary}"] = chain(halves)
    return found


def measure(
    run: dict[str, Step], images: npt.NDArray[np.uint8], rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Milliseconds per image of each way, one per round; they take turns, each round in another order."""
    expected = run["whole"]([images])[0]
    for name, way in run.items():
        np.testing.assert_allclose(way([images])[0], expected, atol=1e-5, err_msg=name)
    taken: dict[str, list[float]] = {name: [] for name in run}
    order = np.random.default_rng(0)
    repeats = max(1, 32 // len(images))
    for _ in range(rounds):
        for name in order.permutation(list(run)).tolist():
            begun = clock()
            for _ in range(repeats):
                run[name]([images])
            taken[name].append(1e3 * (clock() - begun) / repeats / len(images))
    return taken


def feature_bytes(part: Boundary) -> int:
    """Bytes per image that cross the boundary behind a segment."""
    return sum(
        math.prod(size or 1 for size in spec.shape[1:]) * np.dtype(spec.dtype).itemsize
        for spec in part.outputs[1:]
    )


def page(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        f"{results['net']}, {results['precision']}, {results['threads']} thread(s), "
        f"{results['clock']} clock, {results['rounds']} rounds; least / median / most.",
        "",
    ]
    for batch, taken in results["milliseconds"].items():
        whole = np.array(taken["whole"])
        rows = [
            [
                name,
                str(results["bytes"].get(name, "")),
                spread(values),
                spread(100 * (np.array(values) / whole - 1), 1),
            ]
            for name, values in taken.items()
        ]
        lines += [
            f"Batch {batch}:",
            "",
            *table(["", "bytes an image", "ms", "% over the whole net"], rows),
            "",
        ]
    return "\n".join(lines)


def main() -> None:
    """Measure and publish."""
    parser = command_line(__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: where others use the machine")
    given = parser.parse_args()
    net = chosen(given.bundle, given.precision)
    run, images = ways(net.segments, net.parts, given.threads), net.images(max(given.batches))
    results = {
        "net": net.net,
        "precision": net.precision,
        "threads": given.threads,
        "clock": given.clock,
        "rounds": given.rounds,
        "onnxruntime": onnxruntime.__version__,
        "bytes": {
            f"boundary {number}": feature_bytes(part) for number, part in enumerate(net.parts[:-1], start=1)
        },
        "milliseconds": {
            batch: measure(run, images[:batch], given.rounds, CLOCKS[given.clock]) for batch in given.batches
        },
    }
    publish(given.out, results, page(results))


if __name__ == "__main__":
    main()
