"""`python -m training.compare`: train a model by several methods and write one report of what came of it.

OUT/runs/LABEL-SEED      one run folder each; finished ones are kept, begun ones are gone on with
OUT/report.md            accuracies, times and what differs from the poster
OUT/report.json          the same as numbers
OUT/budgeted-*.png …     the figures

`--epochs` gives every method the same number of epochs. `--max-minutes` gives every method the same time: one
epoch of each is timed, and as many epochs as fit are planned, so that every learning-rate schedule comes to
its end. Both may be given.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence

from rich.console import Console

from training import cli
from training.comparison.compare import compare
from training.comparison.document import write_report
from training.comparison.plan import CompareConfig, SharedSettings


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return cli.parser_of(
        "Train a model by several methods and report what came of it.", CompareConfig, SharedSettings
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing, and write the report."""
    words = sys.argv[1:] if argv is None else argv

    def command(given: argparse.Namespace) -> None:
        config = cli.read_fields(CompareConfig, given)
        shared = cli.given_values(SharedSettings, given)
        comparison = compare(config, shared, f"python -m training.compare {shlex.join(words)}")
        write_report(comparison, config.out)
        Console().print(f"wrote {config.out}/report.md", soft_wrap=True, highlight=False)

    return cli.main(parser(), command, words)


if __name__ == "__main__":
    sys.exit(main())
