"""`offramp conflict RUN`: how the exits' gradients of the parameters that they share conflict.

The cosine between two exits' gradients, over the parameters that at least two exits reach (one flattened
vector, zero where an exit does not use them), of the whole net, per segment and per parameter tensor.
Measured twice: on training batches (the noisy gradients that a step method combines) for the exits' plain
losses, and for the expected gradients W_i − W0 of Meta-GF, each from a task of its own.

`--epochs E` also trains a fresh copy of the run by its own settings for E epochs and measures the mini-batch
cosines before the first and after every (`--every`-th) epoch; with `--expected-training` the expected
gradients' too, by tasks from where the copy then stands. The run itself stays as it is.

`conflict.json` holds: run, epoch; `mini_batch` and `expected`, each {samples, whole: {parameters, cosine,
negative_share}, segments: a list of {segment, parameters, cosine}, tensors: a list of {name, parameters,
exits, cosine}};
`training`, a list of {epoch, cosine, expected}. A cosine is a matrix of exits × exits, the mean over the
samples, null where two exits share nothing there; what was not asked for is null as a whole. Exits and
segments are numbered from 1.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field
from pydantic_settings import CliPositionalArg

from serving import command_line
from training.analysis.config import ConflictConfig


class Arguments(ConflictConfig):
    """Measure how the exits' gradients conflict on shared parameters."""

    run: CliPositionalArg[Path] = Field(description="a run folder")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the run that the command line names; write JSON and heat maps."""
    return command_line.run(lambda: _conflict(command_line.read(Arguments, "conflict", argv)))


def _conflict(arguments: Arguments) -> None:
    from rich.console import Console

    from training.analysis.conflict_report import conflict
    from training.runs.run import Run

    out = arguments.out or arguments.run / "conflict"
    conflict(Run.open(arguments.run), arguments, out)
    Console().print(f"wrote {out}/conflict.json and its figures", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
