"""`python -m training.gallery BUNDLE --budget 50%`: one picture of the test images that leave at each exit.

A row for each exit, from the easy images to the hard: a few that left there under the budget, drawn at random
by `--seed`, not picked by hand. A red frame is a wrong answer; below stands what was answered.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from pydantic import BaseModel, Field
from rich.console import Console

from serving.bundle import Bundle, read_bundle
from serving.bundle.served_policy import served_policy
from serving.engine.engine import Engine
from serving.policy.budget import parse_budget
from serving.policy.plan import exits_taken
from training import cli
from training.calibration.collect import Labels, Probabilities
from training.evaluation.evaluation import Scored
from training.evaluation.measure import EvaluateConfig, data_of, served


class GalleryConfig(BaseModel):
    """What to draw."""

    budget: str = Field("50%", description="what an image may cost on average, as in a request")
    columns: int = Field(12, ge=1, le=40, description="images for each exit")
    seed: int = Field(0, ge=0, description="decides which images are drawn")
    dataset: str | None = Field(
        None, description="the data set, where the name in the bundle's manifest does not lead there"
    )
    out: Path | None = Field(None, description="the picture; runs/gallery-BUNDLE.png where not given")


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


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return cli.parser_of(
        "Draw the test images that leave at each exit of a bundle.",
        GalleryConfig,
        folder=("BUNDLE", "a bundle's folder"),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the gallery of the bundle that the command line names."""
    return cli.main(parser(), _command, argv)


def _command(given: argparse.Namespace) -> None:
    config, bundle = cli.read_fields(GalleryConfig, given), read_bundle(given.folder)
    data = data_of(bundle, EvaluateConfig(dataset=config.dataset))
    batches = list(data.test())
    pixels = np.concatenate([batch.images.cpu().numpy() for batch in batches])
    answers = served(Engine(bundle, threads=0), batches)
    rows = sort_out(bundle, pixels, *answers, config)
    title = f"{bundle.name}: test images of {data.name} by the exit they leave at, budget {config.budget}"
    out = config.out or Path("runs") / f"gallery-{bundle.name}.png"
    draw(out, title, rows, config.columns)
    Console().print(f"wrote {out}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
