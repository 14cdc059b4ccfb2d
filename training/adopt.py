"""`python -m training.adopt NETWORK --dataset … --out BUNDLE`: early exits for a trained network.

The network stays as it is; heads on the way learn to answer as it does (docs/adopting.md).
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TaskID

from training import cli
from training.adopting import adoption, report
from training.adopting.adoption import AdoptConfig
from training.adopting.loading import EXPECTED


class Bars:
    """A progress bar for each step.

    Args:
        progress: where they are drawn.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, step: str, done: int, of: int) -> None:
        """Move the bar of a step."""
        if step not in self._tasks:
            self._tasks[step] = self._progress.add_task(step, total=of)
        self._progress.update(self._tasks[step], completed=done, total=of)


def main(argv: Sequence[str] | None = None) -> int:
    """Adopt a network and print what its exits buy."""
    parser = argparse.ArgumentParser(
        prog=cli.program(),
        description="Give a trained network early exits; its own answers stay as they are.",
        allow_abbrev=False,
    )
    parser.add_argument("network", help=EXPECTED)
    parser.add_argument(
        "--out", type=Path, required=True, help="the bundle's folder; its name is the model's"
    )
    parser.add_argument("--force", action="store_true", help="replace the bundle, its whole folder, if there")
    parser.add_argument("--json", type=Path, help="file that takes the figures as JSON")
    cli.add_fields(parser, AdoptConfig)

    def command() -> None:
        given = parser.parse_args(argv)
        config = cli.read_fields(AdoptConfig, given)
        console = Console()
        with Progress(console=console) as progress:
            done = adoption.build(
                given.network, given.out, config, force=given.force, tell=console.print, show=Bars(progress)
            )
        found = report.judge(done)
        report.show(done, found, console)
        if given.json is not None:
            given.json.write_text(json.dumps(report.as_json(done, found), indent=1) + "\n")
        console.print(f"wrote {given.out}", soft_wrap=True, highlight=False)

    return cli.run(command)


if __name__ == "__main__":
    sys.exit(main())
