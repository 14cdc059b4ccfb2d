"""`python -m training.cascade SMALL LARGE … --dataset … --out BUNDLE`: trained networks, one after the other.

The small network answers what it is sure of, the larger ones the rest; nothing is trained (docs/adopting.md).
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from training import cli
from training.adopting import cascading, report
from training.adopting.config import AdoptingConfig
from training.adopting.loading import EXPECTED


def main(argv: Sequence[str] | None = None) -> int:
    """Make a cascade and print what it buys."""
    parser = argparse.ArgumentParser(
        prog=cli.program(),
        description="Make one bundle of networks that are trained already, from the cheapest to the dearest.",
        allow_abbrev=False,
    )
    parser.add_argument("networks", nargs="+", help=f"{EXPECTED}; from the cheapest to the dearest")
    parser.add_argument(
        "--out", type=Path, required=True, help="the bundle's folder; its name is the model's"
    )
    parser.add_argument("--force", action="store_true", help="replace the bundle, its whole folder, if there")
    parser.add_argument("--json", type=Path, help="file that takes the figures as JSON")
    cli.add_fields(parser, AdoptingConfig)

    def command() -> None:
        given = parser.parse_args(argv)
        config = cli.read_fields(AdoptingConfig, given)
        console = Console()
        done = cascading.build(given.networks, given.out, config, force=given.force, tell=console.print)
        found = report.judge(done)
        report.show(done, found, console)
        if given.json is not None:
            given.json.write_text(json.dumps(report.as_json(done, found), indent=1) + "\n")
        console.print(f"wrote {given.out}", soft_wrap=True, highlight=False)

    return cli.run(command)


if __name__ == "__main__":
    sys.exit(main())
