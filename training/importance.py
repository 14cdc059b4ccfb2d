"""`offramp importance RUN`: prune by the fusion weights of a Meta-GF run.

For each exit, the shared weights with the largest fusion weights are pruned step by step
(`training.analysis.pruning`), and the accuracy of all exits is measured, beside that of pruning equally many
at random. If the fusion weights are right, the exit loses more than the others do, and more than at random.

`importance.json` holds: run, epoch, split, images, granularity; `exits`, a list of {exit, parameters (its
shared weights), groups, importance {mean, min, max}, pruned (weights at each step), important
[steps, exits], random [draws, steps, exits]}. Accuracies lie in 0..1, exits are numbered from 1.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field
from pydantic_settings import CliPositionalArg

from serving import command_line
from training.analysis.config import ImportanceConfig


class Arguments(ImportanceConfig):
    """Prune what is important to an exit by its fusion weights."""

    run: CliPositionalArg[Path] = Field(description="a run folder of meta-gf")


def main(argv: Sequence[str] | None = None) -> int:
    """Prune the run that the command line names; write JSON and figures."""
    return command_line.run(lambda: _importance(command_line.read(Arguments, "importance", argv)))


def _importance(arguments: Arguments) -> None:
    from rich.console import Console

    from training.analysis.importance_report import importance
    from training.runs.run import Run

    out = arguments.out or arguments.run / "importance"
    importance(Run.open(arguments.run), arguments, out)
    Console().print(f"wrote {out}/importance.json and its figures", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
