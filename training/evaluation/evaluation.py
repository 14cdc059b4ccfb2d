"""An evaluation: the accuracy of each exit, the budgeted curve, and the file of both."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from serving.policy.confidence import Scorer
from training.evaluation.areas import Areas, area_line
from training.evaluation.curves import Bools, BudgetPolicy, Floats, Point, budgeted_curve, grid_budgets
from training.evaluation.failure import QUALITY_HEADS, ExitQuality, quality_rows
from training.evaluation.plots import accuracy_over_flops

TABLE_POINTS = 9
"""Number of budgets of the curve in the printed table."""


@dataclass(frozen=True, eq=False)
class Scored:
    """N images as every exit saw them.

    Args:
        score: float64 [N, K], what is held against thresholds.
        correct: bool [N, K], whether the exit is right.
    """

    score: Floats
    correct: Bools

    @classmethod
    def of(
        cls, probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], scorer: Scorer
    ) -> "Scored":
        """Score probabilities [N, K, C] of images with labels [N] as served rows are."""
        scores = [
            scorer(exit_index, probabilities[:, exit_index]) for exit_index in range(probabilities.shape[1])
        ]
        return cls(np.stack(scores, axis=1), probabilities.argmax(-1) == labels[:, None])


@dataclass(frozen=True)
class Evaluation:
    """One model on one set of images.

    Args:
        name: the run's or the bundle's folder name.
        kind: "run" (computed by torch) or "bundle" (computed by the serving engine).
        data_set: name of the data set.
        split: the part that was measured on.
        images: how many images that part has.
        fitted_on: where the thresholds come from.
        exit_flops: [K], FLOPs per image, every earlier head included.
        cut_flops: [K], the same for a net that is cut after that exit's segment and has no other head; what
            the segment computes for later exits alone is still counted.
        exit_accuracy: [K], in [0, 1], every image at that exit.
        curve: budgets over all exits, ascending.
        quality: [K], confidence as a sign of failures; empty where it was not measured.
        overthinking: share of images that some exit has right and the last one wrong.
        areas: under the budgeted and the anytime curve.
    """

    name: str
    kind: str
    data_set: str
    split: str
    images: int
    fitted_on: str
    exit_flops: tuple[int, ...]
    cut_flops: tuple[int, ...]
    exit_accuracy: tuple[float, ...]
    curve: tuple[Point, ...]
    quality: tuple[ExitQuality, ...] = ()
    overthinking: float | None = None
    areas: Areas | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values; `exits` has {exit (from 1), flops, cut_flops, accuracy} and its quality."""
        values = asdict(self)
        columns = [values.pop(name) for name in ("exit_flops", "cut_flops", "exit_accuracy")]
        curve = values.pop("curve")
        exits = [
            {"exit": number, "flops": flops, "cut_flops": cut_flops, "accuracy": accuracy}
            for number, (flops, cut_flops, accuracy) in enumerate(zip(*columns, strict=True), start=1)
        ]
        for one, quality in zip(exits, values.pop("quality"), strict=False):
            one.update(quality)
        return {**values, "exits": exits, "curve": list(curve)}


def curve_of(
    policy: BudgetPolicy, measured: Scored, exit_flops: Sequence[int], more: Sequence[float] = ()
) -> tuple[Point, ...]:
    """Measure the budgets of MSDNet's grid, and `more`, on images that the policy was not fitted on."""
    budgets = sorted({*grid_budgets(exit_flops), *more})
    return tuple(budgeted_curve(policy, budgets, measured.score, measured.correct, exit_flops))


def write(evaluation: Evaluation, folder: Path) -> None:
    """Write `evaluation.json` and `curve.png` into `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.json").write_text(json.dumps(evaluation.to_json(), indent=2) + "\n")
    title = f"{evaluation.name} on {evaluation.data_set} ({evaluation.split}, {evaluation.images:,} images)"
    static = {
        "every image at one exit": evaluation.exit_flops,
        "the net cut after that exit": evaluation.cut_flops,
    }
    accuracy_over_flops(folder / "curve.png", title, static, evaluation.exit_accuracy, evaluation.curve)


def show(evaluation: Evaluation, console: Console) -> None:
    """Print the accuracy of each exit, and a few budgets of the curve."""
    console.print(
        f"{evaluation.name} ({evaluation.kind}) on {evaluation.images:,} {evaluation.split} images "
        f"of {evaluation.data_set}; thresholds fitted on {evaluation.fitted_on}",
        soft_wrap=True,
    )
    exits = Table("exit", "MFLOPs", "accuracy %", title="every image at one exit")
    for number, (flops, accuracy) in enumerate(
        zip(evaluation.exit_flops, evaluation.exit_accuracy, strict=True), start=1
    ):
        exits.add_row(str(number), f"{flops / 1e6:.2f}", f"{100 * accuracy:.2f}")
    console.print(exits)
    budgets = Table(
        "budget MFLOPs", "spent MFLOPs", "accuracy %", "share of each exit %", title="leaving early"
    )
    shown = np.unique(np.linspace(0, len(evaluation.curve) - 1, TABLE_POINTS).round().astype(int))
    for point in (evaluation.curve[index] for index in shown):
        shares = " ".join(f"{100 * share:.0f}" for share in point.shares)
        budgets.add_row(
            f"{point.budget_flops / 1e6:.2f}",
            f"{point.spent_flops / 1e6:.2f}",
            f"{100 * point.accuracy:.2f}",
            shares,
        )
    console.print(budgets)
    if evaluation.quality:
        table = Table(
            *QUALITY_HEADS, title="confidence as a predictor of failure; answers beside the last exit's"
        )
        for row in quality_rows(evaluation.quality):
            table.add_row(*row)
        console.print(table)
    if evaluation.areas is not None:
        console.print(area_line(evaluation.areas), soft_wrap=True)
