"""`python -m training.export RUN --out BUNDLE`: from a run's last epoch to a bundle that can be served.

In float32 the segments are held against torch on real validation images before anything is written; in fewer
bits, their accuracy against float32. The calibration is made of the serving engine's own answers.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, Field
from rich.console import Console
from rich.table import Table

from training import cli
from training.exporting.export import Exported, export
from training.exporting.precision import ExportSettings
from training.exporting.selection import show
from training.runs.run import Run


def show_exported(exported: Exported, console: Console) -> None:
    """Print what every exit costs and gets right, and what was found on the way."""
    bundle = exported.bundle
    manifest, in_float = bundle.manifest, bundle.manifest.float_validation_accuracy
    columns = ["exit", "MFLOPs", *(["float %"] if in_float else []), f"{manifest.precision} %", "file KB"]
    table = Table(*columns, title=f"{bundle.name}, accuracy on validation images")
    for index, flops in enumerate(manifest.exit_flops):
        held_against = [f"{100 * in_float[index]:.2f}"] if in_float else []
        accuracy = manifest.segments[index].validation_accuracy
        size = bundle.segment_path(index).stat().st_size
        table.add_row(
            str(index + 1), f"{flops / 1e6:.2f}", *held_against, f"{100 * accuracy:.2f}", f"{size / 1e3:,.0f}"
        )
    console.print(table)
    if manifest.precision == "int8":
        console.print(f"kept in float to save accuracy: {', '.join(exported.kept) or 'nothing'}")
    show(exported.selection, console)
    console.print(
        f"largest difference of float32 from torch on {exported.difference.images} validation images: "
        f"{exported.difference.largest:.1e}"
    )


class ExportPlace(BaseModel):
    """Where a bundle goes."""

    out: Path = Field(description="the bundle's folder; its name is the model's")
    force: bool = Field(False, description="replace the bundle, its whole folder, if there")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return cli.parser_of(
        "Export a run to a bundle.",
        ExportPlace,
        ExportSettings,
        folder=("RUN", "run folder, made by training.fit"),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Export a run and print what every exit of the bundle costs and gets right."""
    return cli.main(parser(), _command, argv)


def _command(given: argparse.Namespace) -> None:
    place, settings = cli.read_fields(ExportPlace, given), cli.read_fields(ExportSettings, given)
    console = Console()
    exported = export(Run.open(given.folder), place.out, settings, force=place.force, tell=console.print)
    show_exported(exported, console)
    console.print(f"wrote {place.out}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
