"""One picture of the test images that leave at each exit under a budget, from the easy ones to the hard."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from serving.bundle import Bundle
from serving.bundle.served_policy import served_policy
from serving.policy.budget import parse_budget
from serving.policy.plan import exits_taken
from training.calibration.collect import Labels, Probabilities
from training.evaluation.config import GalleryConfig
from training.evaluation.evaluation import Scored


@dataclass(frozen=True, eq=False)
class Shown:
    """The images of one exit.

    Attributes:
        exit_flops: FLOPs per image of leaving there.
        share: of all images.
        accuracy: of the answers that were given there, in 0..1; not a number where there were none.
        images: those drawn, uint8 [n, H, W, 3].
        answers: what they were taken for, n class names.
        right: bool [n].
    """

    exit_flops: int
    share: float
    accuracy: float
    images: npt.NDArray[np.uint8]
    answers: Sequence[str]
    right: npt.NDArray[np.bool_]


def sort_out(
    bundle: Bundle,
    pixels: npt.NDArray[np.uint8],
    probabilities: Probabilities,
    labels: Labels,
    config: GalleryConfig,
) -> list[Shown]:
    """Say at which exit each image leaves under a budget, and draw some of each exit.

    Args:
        bundle: whose thresholds; those that it would be served with.
        pixels: uint8 [N, H, W, 3].
        probabilities: float32 [N, K, C], what every exit says.
        labels: int64 [N].
        config: the budget, and what to draw.

    Raises:
        BudgetError: no such budget, or none that buys an exit.
    """
    manifest = bundle.manifest
    budget_flops = parse_budget(config.budget, manifest.exit_flops)
    thresholds = served_policy(manifest, bundle.calibration).plan(budget_flops).thresholds
    left = exits_taken(Scored.of(probabilities, labels, bundle.scorer).score, thresholds)
    answers = probabilities[np.arange(len(left)), left].argmax(-1)
    right = answers == labels
    generator = np.random.default_rng(config.seed)
    shown = []
    for index, flops in enumerate(manifest.exit_flops):
        here = np.flatnonzero(left == index)
        drawn = generator.permutation(here)[: config.columns]
        shown.append(
            Shown(
                exit_flops=flops,
                share=len(here) / len(left),
                accuracy=float(right[here].mean()) if len(here) else float("nan"),
                images=pixels[drawn],
                answers=[manifest.classes[label] for label in answers[drawn]],
                right=right[drawn],
            )
        )
    return shown


def draw(path: Path, title: str, rows: Sequence[Shown], columns: int) -> None:
    """Draw a row of images for each exit into a PNG file."""
    figure = Figure(figsize=(1.6 + 0.72 * columns, 0.6 + 0.95 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    grid = figure.subplots(len(rows), columns + 1, squeeze=False, width_ratios=[2.2] + [1] * columns)
    for number, (row, cells) in enumerate(zip(rows, grid, strict=True), start=1):
        for cell in cells:
            cell.set_xticks([])
            cell.set_yticks([])
            cell.spines[:].set_visible(False)
        said = f"{row.accuracy:.1%} right" if row.share else ""
        text = f"exit {number}\n{row.exit_flops / 1e6:.2f} MFLOPs\n{row.share:.1%} of images\n{said}"
        cells[0].text(0, 0.5, text, fontsize=7, verticalalignment="center")
        for cell, image, answer, right in zip(cells[1:], row.images, row.answers, row.right, strict=False):
            cell.imshow(image)
            cell.set_xlabel(answer, fontsize=6, labelpad=1)
            cell.spines[:].set(visible=True, color="tab:green" if right else "tab:red", linewidth=1.5)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=110)
