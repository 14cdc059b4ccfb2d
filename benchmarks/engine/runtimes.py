r"""ONNX Runtime, OpenVINO, and OpenVINO in bfloat16: processor time per image, and answers that change.

    python -m benchmarks.engine.runtimes exported_models/cifar10-ladder exported_models/cifar10-msdnet-int8 \
        --resnet50 --dataset cifar10 --out docs/benchmarks/runtimes

Every net's segments one after the other at full depth, as the engine runs them, on one thread each. The
runtimes take turns, round by round; milliseconds are of processor time, which other processes move little.
`--dataset` names the images that the shares of changed answers are counted on (its test images), against
ONNX Runtime's answers. int8 nets are timed on OpenVINO too, which a server refuses them (docs/runtimes.md).
`--resnet50` adds torchvision's ResNet-50 at 224 pixels with three exits on the way, its weights random: it
claims no accuracy.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.engine.segmented import Segmented, chosen
from benchmarks.reporting import opened, publish, spread, table
from serving.bundle import read_bundle
from serving.engine.backends.interface import Backend, Session
from serving.engine.backends.names import InferencePrecision, RuntimeName
from serving.engine.backends.registry import make_backend
from serving.engine.engine import Engine
from serving.system.processor import instruction_set
from training.calibration.collect import engine_probabilities
from training.exporting.graph import boundaries, export_whole, split_at_boundaries
from training.models.registry import architecture

WAYS: dict[str, tuple[RuntimeName, InferencePrecision]] = {
    "onnxruntime": ("onnxruntime", "float32"),
    "openvino": ("openvino", "float32"),
    "openvino bfloat16": ("openvino", "bfloat16"),
}
BATCHES = (1, 8, 32)
_LEAST_SECONDS = 0.5


class Chain:
    """A net's segments on one runtime, one thread each.

    Args:
        net: what they are of.
        backend: opens them.
    """

    def __init__(self, net: Segmented, backend: Backend) -> None:
        self._parts = net.parts
        self._sessions: list[Session] = [backend.open(segment, 1) for segment in net.segments]

    def run(self, images: npt.NDArray[np.uint8]) -> None:
        """Take images through all segments."""
        values: Sequence[npt.NDArray[Any]] = [images]
        for session, part in zip(self._sessions, self._parts, strict=True):
            feed = dict(zip([spec.name for spec in part.inputs], values, strict=True))
            _, *values = session.run([spec.name for spec in part.outputs], feed)


def ways_of(net: Segmented) -> dict[str, Chain]:
    """Open a net on every runtime that fits its precision."""
    fitting = {name: way for name, way in WAYS.items() if way[1] == "float32" or net.precision == "float32"}
    return {name: Chain(net, make_backend(*way)) for name, way in fitting.items()}


def measure(net: Segmented, rounds: int, batches: Sequence[int]) -> dict[str, dict[int, list[float]]]:
    """Milliseconds of processor time per image, by runtime and batch, one for each round."""
    ways = ways_of(net)
    found: dict[str, dict[int, list[float]]] = {name: {batch: [] for batch in batches} for name in ways}
    for batch in batches:
        images = net.images(batch)
        for way in ways.values():
            way.run(images)
        for _ in range(rounds):
            for name, way in ways.items():
                begun, runs = process_time(), 0
                while process_time() - begun < _LEAST_SECONDS or not runs:
                    way.run(images)
                    runs += 1
                found[name][batch].append(1000 * (process_time() - begun) / (runs * batch))
    return found


def changed(folder: Path, dataset: str, most: int) -> dict[str, dict[str, Any]]:
    """Shares of test images on which an exit's class is not ONNX Runtime's, and accuracies."""
    bundle = read_bundle(folder)
    engines = {
        name: Engine(bundle, threads=1, backend=make_backend(*way))
        for name, way in WAYS.items()
        if way[1] == "float32" or bundle.manifest.precision == "float32"
    }
    answers: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in engines}
    truth = []
    for images, labels in _batches(folder, dataset, most):
        truth.append(labels)
        for name, engine in engines.items():
            answers[name].append(engine_probabilities(engine, images))
    labels = np.concatenate(truth)
    all_of = {name: np.concatenate(parts) for name, parts in answers.items()}
    known = all_of["onnxruntime"]
    return {
        name: {
            "images": len(labels),
            "changed": (found.argmax(-1) != known.argmax(-1)).mean(axis=0).tolist(),
            "accuracy": (found.argmax(-1) == labels[:, None]).mean(axis=0).tolist(),
            "largest": np.abs(found.max(-1) - known.max(-1)).max(axis=0).tolist(),
            "distinct": [len(np.unique(found[:, place].max(-1))) for place in range(found.shape[1])],
        }
        for name, found in all_of.items()
    }


def _batches(
    folder: Path, dataset: str, most: int
) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]:
    seen = 0
    for batch in opened(read_bundle(folder), dataset).test():
        if seen >= most:
            return
        seen += len(batch.labels)
        yield batch.images.cpu().numpy(), batch.labels.cpu().numpy()


def resnet50() -> Segmented:
    """ResNet-50 at 224 pixels with exits after its first three groups of blocks, untrained."""
    options = {"exits": "layer1,layer2,layer3", "image_size": 224}
    model = architecture("torchvision:resnet50", options).model(1000)
    whole, parts = export_whole(model), boundaries(model)
    return Segmented("ResNet-50 at 224 px, untrained", "float32", split_at_boundaries(whole, parts), parts)


def page(results: dict[str, Any]) -> str:
    """Return the results as a page."""
    lines = [
        "# Runtimes",
        "",
        f"Made by `benchmarks/engine/runtimes.py`: processor milliseconds per image at full depth on one "
        f"thread, least / median / most of {results['rounds']} alternating rounds; a processor with "
        f"{results['instruction_set']}.",
        "",
    ]
    for net, found in results["milliseconds"].items():
        known = found["onnxruntime"]
        rows = [
            [
                name,
                *(spread(values, 2) for values in by_batch.values()),
                *(f"{np.median(known[batch]) / np.median(values):.2f}" for batch, values in by_batch.items()),
            ]
            for name, by_batch in found.items()
        ]
        batches = list(known)
        head = [net, *(f"batch {batch}" for batch in batches), *(f"× at {batch}" for batch in batches)]
        lines += [*table(head, rows), ""]
    for net, found in results["changed"].items():
        rows = [
            [
                name,
                " / ".join(f"{100 * share:.2f}" for share in one["changed"]),
                " / ".join(f"{100 * share:.2f}" for share in one["accuracy"]),
                " / ".join(f"{far:.3f}" for far in one["largest"]),
            ]
            for name, one in found.items()
        ]
        count = next(iter(found.values()))["images"]
        head = [f"{net}, {count:,} test images", "answers changed %", "accuracy %", "confidence moved, most"]
        lines += [*table(head, rows), ""]
    return "\n".join(lines)


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundles", type=Path, nargs="*")
    parser.add_argument("--resnet50", action="store_true")
    parser.add_argument("--dataset", help="whose test images changed answers are counted on")
    parser.add_argument("--images", type=int, default=10_000, help="the most of them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True, help="path of the results without its ending")
    given = parser.parse_args()
    nets = [chosen(folder, "float32") for folder in given.bundles]
    if given.resnet50:
        nets.append(resnet50())
    counted = [folder for folder in given.bundles if given.dataset]
    results = {
        "instruction_set": instruction_set(),
        "rounds": given.rounds,
        "milliseconds": {
            net.net: measure(net, given.rounds, BATCHES[:2] if "224" in net.net else BATCHES) for net in nets
        },
        "changed": {folder.name: changed(folder, given.dataset, given.images) for folder in counted},
    }
    publish(given.out, results, page(results))


if __name__ == "__main__":
    main()
