"""Accuracy under budgets, over FLOPs and over milliseconds, of several bundles in one picture.

    python -m benchmarks.curves exported_models/cifar10-* --out docs/benchmarks/curves --picture curve.png

Accuracies, FLOPs and shares of the exits are those of `evaluation.json` beside each bundle (`training.card`
measures them on test images). The milliseconds are measured here: processor time of one thread for an image
that leaves at an exit, earlier heads included, in batches of 32, all segments in plain sessions of ONNX
Runtime. Bundles take turns, round by round. A budget's milliseconds are the mean over its exits, weighted by
their shares: batches are taken to be full at every exit.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.engine.plain_session import plain_session
from benchmarks.engine.segmented import Segmented, chosen
from benchmarks.reporting import publish, table

BATCH = 32
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """A bundle: what its exits and budgets cost and get right, and how long its exits take.

    Args:
        name: of the bundle.
        exit_flops: [K], per image, every earlier head included.
        cut_flops: [K], of the net cut after that exit's segment, without earlier heads.
        exit_accuracy: [K], in [0, 1].
        exit_ms: [K], the median over the rounds, per image.
        budget_flops: [B], spent per image.
        budget_accuracy: [B], in [0, 1].
        budget_ms: [B], per image.
    """

    name: str
    exit_flops: list[int]
    cut_flops: list[int]
    exit_accuracy: list[float]
    exit_ms: list[float]
    budget_flops: list[float]
    budget_accuracy: list[float]
    budget_ms: list[float]

    @classmethod
    def of(cls, evaluation: dict[str, Any], exit_ms: Floats) -> "Measured":
        """Join an `evaluation.json` and the milliseconds [K] of its exits."""
        exits, curve = evaluation["exits"], evaluation["curve"]
        return cls(
            name=evaluation["name"],
            exit_flops=[row["flops"] for row in exits],
            cut_flops=[row["cut_flops"] for row in exits],
            exit_accuracy=[row["accuracy"] for row in exits],
            exit_ms=exit_ms.tolist(),
            budget_flops=[point["spent_flops"] for point in curve],
            budget_accuracy=[point["accuracy"] for point in curve],
            budget_ms=[float(np.dot(point["shares"], exit_ms)) for point in curve],
        )


def sessions_of(net: Segmented) -> list[Any]:
    """Open every segment in a session of its own, with one thread."""
    return [plain_session(segment, 1, arena=True) for segment in net.segments]


def exit_milliseconds(net: Segmented, sessions: Sequence[Any], repeats: int) -> Floats:
    """Run a batch through all segments; return the processor time per image until each exit answers, [K]."""
    taken = np.zeros(len(sessions))
    for _ in range(repeats):
        values = [net.images(BATCH)]
        for index, (session, part) in enumerate(zip(sessions, net.parts, strict=True)):
            feed = dict(zip([spec.name for spec in part.inputs], values, strict=True))
            begun = process_time()
            _, *values = session.run([spec.name for spec in part.outputs], feed)
            taken[index] += process_time() - begun
    return 1e3 * taken.cumsum() / repeats / BATCH


def measure(folders: Sequence[Path], rounds: int, repeats: int = 4) -> list[Measured]:
    """Time the exits of every bundle, in turns, and join them with what its card was made of."""
    nets = [chosen(folder, "float32") for folder in folders]
    opened = [sessions_of(net) for net in nets]
    taken: list[list[Floats]] = [[] for _ in nets]
    for _ in range(rounds + 1):  # the first warms up
        for index, (net, sessions) in enumerate(zip(nets, opened, strict=True)):
            taken[index].append(exit_milliseconds(net, sessions, repeats))
    return [
        Measured.of(json.loads((folder / "evaluation.json").read_text()), np.median(times[1:], axis=0))
        for folder, times in zip(folders, taken, strict=True)
    ]


def draw(path: Path, bundles: Sequence[Measured]) -> None:
    """Draw budgets as lines, exits as points, and nets cut short as crosses, into a PNG file."""
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    over_flops, over_ms = figure.subplots(1, 2, sharey=True)
    colours = colormaps["tab10"]
    for number, bundle in enumerate(bundles):
        colour = colours(number)
        right, at_exits = 100 * np.array(bundle.budget_accuracy), 100 * np.array(bundle.exit_accuracy)
        over_flops.plot(np.array(bundle.budget_flops) / 1e6, right, color=colour, label=bundle.name)
        over_flops.plot(np.array(bundle.exit_flops) / 1e6, at_exits, "o", color=colour)
        over_flops.plot(np.array(bundle.cut_flops) / 1e6, at_exits, "x", color=colour)
        over_ms.plot(bundle.budget_ms, right, color=colour, label=bundle.name)
        over_ms.plot(bundle.exit_ms, at_exits, "o", color=colour)
    over_flops.set(xlabel="mean cost (MFLOPs per image)", ylabel="accuracy on test images (%)")
    over_ms.set(xlabel="processor time of one thread (ms per image)")
    for axes in (over_flops, over_ms):
        axes.grid(alpha=0.3)
    over_flops.plot([], [], "o", color="grey", label="every image at one exit")
    over_flops.plot([], [], "x", color="grey", label="the net cut after that exit")
    over_flops.legend(loc="lower right", fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=130)


def page(bundles: Sequence[Measured], rounds: int) -> str:
    """The results as Markdown."""
    head = ["bundle", "exit", "MFLOPs", "cut there, MFLOPs", "µs an image", "accuracy %"]
    rows = []
    for bundle in bundles:
        columns = (bundle.exit_flops, bundle.cut_flops, bundle.exit_ms, bundle.exit_accuracy)
        for number, (flops, cut, ms, right) in enumerate(zip(*columns, strict=True), start=1):
            costs = (f"{flops / 1e6:.2f}", f"{cut / 1e6:.2f}", f"{1e3 * ms:.0f}")
            rows.append([bundle.name, str(number), *costs, f"{100 * right:.2f}"])
    return "\n".join(
        [
            "# The bundles in the project, exit by exit",
            "",
            f"Every image at one exit. Processor time of one thread in batches of {BATCH}, ONNX Runtime "
            f"{onnxruntime.__version__}, median of {rounds} rounds; accuracy on the test images.",
            "",
            *table(head, rows),
            "",
        ]
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, draw and publish."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundles", type=Path, nargs="+", help="each with evaluation.json, in drawing order")
    parser.add_argument("--out", type=Path, required=True, help="path of the results without its ending")
    parser.add_argument("--picture", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=12)
    given = parser.parse_args(argv)
    bundles = measure(given.bundles, given.rounds)
    draw(given.picture, bundles)
    results = {"rounds": given.rounds, "batch": BATCH, "onnxruntime": onnxruntime.__version__}
    publish(
        given.out, {**results, "bundles": [asdict(bundle) for bundle in bundles]}, page(bundles, given.rounds)
    )


if __name__ == "__main__":
    main()
