"""`offramp gallery BUNDLE --budget 50%`: one picture of the test images that leave at each exit.

A row for each exit, from the easy images to the hard: a few that left there under the budget, drawn at random
by `--seed`, not picked by hand. A red frame is a wrong answer; below stands what was answered.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field
from pydantic_settings import CliPositionalArg

from serving import command_line
from training.evaluation.config import EvaluateConfig, GalleryConfig


class Arguments(GalleryConfig):
    """Draw the test images that leave at each exit of a bundle."""

    bundle: CliPositionalArg[Path] = Field(description="a bundle's folder")


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the gallery of the bundle that the command line names."""
    return command_line.run(lambda: _gallery(command_line.read(Arguments, "gallery", argv)))


def _gallery(arguments: Arguments) -> None:
    import numpy as np
    from rich.console import Console

    from serving.bundle import read_bundle
    from serving.engine.backends.registry import calibrated_backend
    from serving.engine.engine import Engine
    from training.evaluation.exit_gallery import draw, sort_out
    from training.evaluation.measure import data_of, served

    bundle = read_bundle(arguments.bundle)
    data = data_of(bundle, EvaluateConfig(dataset=arguments.dataset))
    batches = list(data.test())
    pixels = np.concatenate([batch.images.cpu().numpy() for batch in batches])
    answers = served(Engine(bundle, threads=0, backend=calibrated_backend(bundle.manifest)), batches)
    rows = sort_out(bundle, pixels, *answers, arguments)
    title = f"{bundle.name}: test images of {data.name} by the exit they leave at, budget {arguments.budget}"
    out = arguments.out or Path("runs") / f"gallery-{bundle.name}.png"
    draw(out, title, rows, arguments.columns)
    Console().print(f"wrote {out}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
