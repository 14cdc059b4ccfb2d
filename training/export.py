"""`offramp export RUN --out BUNDLE`: from a run's last epoch to a bundle that can be served.

In float32 the segments are held against torch on real validation images before anything is written; in fewer
bits, their accuracy against float32. The calibration is made of the serving engine's own answers.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field
from pydantic_settings import CliPositionalArg

from serving import command_line
from training.exporting.config import ExportSettings


class Arguments(ExportSettings):
    """Export a run to a bundle."""

    run: CliPositionalArg[Path] = Field(description="run folder, made by `offramp fit`")
    out: Path = Field(description="the bundle's folder; its name is the model's")
    exits: str | None = Field(
        None,
        min_length=1,
        description="exits of the bundle: auto drops those that do not pay for their heads, chosen on "
        "validation images; or numbers such as 1,3,5; all where not given",
    )
    force: bool = Field(False, description="replace the bundle, its whole folder, if there")


def main(argv: Sequence[str] | None = None) -> int:
    """Export a run and print what every exit of the bundle costs and gets right."""
    return command_line.run(lambda: _export(command_line.read(Arguments, "export", argv)))


def _export(arguments: Arguments) -> None:
    from rich.console import Console

    from training.exporting.export import export
    from training.exporting.export_table import show_exported
    from training.runs.run import Run

    console = Console()
    run, out = Run.open(arguments.run), arguments.out
    exported = export(run, out, arguments, exits=arguments.exits, force=arguments.force, tell=console.print)
    show_exported(exported, console)
    console.print(f"wrote {out}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
