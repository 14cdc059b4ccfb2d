"""`offramp calibrate BUNDLE`: fit a bundle's thresholds to the user's own images, or to live traffic.

Confidences shift with the images: thresholds fitted on the training data's validation part miss their budgets
on others. The model itself stays as it is.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field
from pydantic_settings import CliPositionalArg

from serving import command_line
from training.calibration.config import CalibrateConfig


class Arguments(CalibrateConfig):
    """Fit a bundle's thresholds to your own images."""

    bundle: CliPositionalArg[Path] = Field(description="the bundle's folder")


def main(argv: Sequence[str] | None = None) -> int:
    """Calibrate a bundle and print what changed."""
    return command_line.run(lambda: _calibrate(command_line.read(Arguments, "calibrate", argv)))


def _calibrate(arguments: Arguments) -> None:
    from rich.console import Console

    from serving.bundle import read_bundle
    from training.calibration.recalibrate import calibrate, knows_its_images
    from training.calibration.tables import show

    old = read_bundle(arguments.bundle)
    new = calibrate(old, arguments)
    console = Console()
    if arguments.split in ("train", "all") and knows_its_images(old, new):
        console.print(
            "warning: among these images are those that the model was trained on, of which it is too "
            "sure; give --split validation, or images it has not seen",
            style="yellow",
        )
    show(old, new, console)
    if arguments.from_capture is not None and new.manifest.truth == "own":
        console.print("held against the network's own answers at full depth, for want of labels")
    console.print(
        f"{len(new.calibration.labels):,} images of {new.manifest.calibration.source}; "
        f"wrote {arguments.out or arguments.bundle}",
        soft_wrap=True,
    )


if __name__ == "__main__":
    sys.exit(main())
