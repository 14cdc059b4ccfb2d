"""`offramp compare`: train a model by several methods and write one report of what came of it.

OUT/runs/LABEL-SEED      one run folder each; finished ones are kept, begun ones are gone on with
OUT/report.html          the report as one page that brings all it shows, to be read and sent
OUT/report.md            the same as Markdown: accuracies, times and what differs from the poster
OUT/report.json          the same as numbers
OUT/budgeted-*.png …     the figures

`--epochs` gives every method the same number of epochs. `--max-minutes` gives every method the same time: one
epoch of each is timed, and as many epochs as fit are planned, so that every learning-rate schedule comes to
its end. Both may be given.
"""

import shlex
import sys
from collections.abc import Sequence

from pydantic import create_model

from serving import command_line
from training.comparison.config import CompareConfig, SharedSettings

Arguments = create_model(
    "Arguments",
    __base__=(CompareConfig, SharedSettings),
    __doc__="Train a model by several methods and report the results.",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing, and write the report."""
    words = sys.argv[1:] if argv is None else argv
    return command_line.run(lambda: _compare(words))


def _compare(words: Sequence[str]) -> None:
    given = command_line.given(Arguments, "compare", words)
    given.read(Arguments)
    from rich.console import Console

    from training.comparison.compare import compare
    from training.comparison.document import write_report

    config = given.read(CompareConfig)
    command = f"{command_line.program('compare')} {shlex.join(words)}"
    write_report(compare(config, given.of(SharedSettings), command), config.out)
    Console().print(f"wrote {config.out}/report.html and report.md", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
