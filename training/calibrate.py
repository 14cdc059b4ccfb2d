"""`python -m training.calibrate BUNDLE --dataset …`: fit a bundle's thresholds to the user's own images.

Confidences shift with the images: thresholds fitted on the training data's validation part miss their budgets
on others. The model itself stays as it is.
"""

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console

from serving.bundle import Bundle, read_bundle
from training import cli
from training.calibration.recalibrate import CalibrateConfig, calibrate
from training.calibration.tables import show


def _knows(old: Bundle, new: Bundle) -> bool:
    """Tell whether a bundle was calibrated on the data set it was trained on."""
    return (new.manifest.calibration.source or "").startswith(f"{old.manifest.data_set.name} (")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return cli.parser_of(
        "Fit a bundle's thresholds to your own images.",
        CalibrateConfig,
        folder=("BUNDLE", "the bundle's folder"),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Calibrate a bundle and print what changed."""
    return cli.main(parser(), _command, argv)


def _command(given: argparse.Namespace) -> None:
    config = cli.read_fields(CalibrateConfig, given)
    old = read_bundle(given.folder)
    new = calibrate(old, config)
    console = Console()
    if config.split in ("train", "all") and _knows(old, new):
        console.print(
            "warning: among these images are those that the model was trained on, of which it is too "
            "sure; give --split validation, or images it has not seen",
            style="yellow",
        )
    show(old, new, console)
    console.print(
        f"{len(new.calibration.labels):,} images of {new.manifest.calibration.source}; "
        f"wrote {config.out or given.folder}",
        soft_wrap=True,
    )


if __name__ == "__main__":
    sys.exit(main())
