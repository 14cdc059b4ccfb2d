"""`python -m training.fit`: train a multi-exit model, resumable at any moment, bit for bit."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, Field

from training import cli
from training.config import FitConfig
from training.data import Data
from training.fitting.fit import fit
from training.fitting.parallel import Divide, Processes, joined
from training.runs.run import Run
from training.runs.start import check_divide, resumed, started


class FitPlace(BaseModel):
    """Where a run lives."""

    out: Path = Field(description="run folder")
    resume: bool = Field(False, description="go on with the run in --out from its last whole epoch")
    divide: Divide = Field(
        "batches", description="what torchrun's processes divide: batches, or tasks (the exits of meta-gf)"
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return cli.parser_of("Train a multi-exit model.", FitPlace, FitConfig)


def main(argv: Sequence[str] | None = None) -> int:
    """Train a new run, or go on with one."""
    return cli.main(parser(), _command, argv)


def _command(given: argparse.Namespace) -> None:
    place = cli.read_fields(FitPlace, given)
    with joined(place.divide) as processes:
        fit(*_opened(place, given, processes), processes=processes)


def _opened(place: FitPlace, given: argparse.Namespace, processes: Processes) -> tuple[Run, Data]:
    """Start or resume the run; of several processes the first makes the folder that the others open."""
    if place.resume:
        run, data = resumed(place.out, cli.given_values(FitConfig, given), processes.slice)
        check_divide(place.divide, run.config.method)
        return run, data
    config = cli.read_fields(FitConfig, given)
    check_divide(place.divide, config.method)
    if processes.first:
        run, data = started(place.out, config, processes.slice)
    processes.wait()
    return (run, data) if processes.first else resumed(place.out, {}, processes.slice)


if __name__ == "__main__":
    sys.exit(main())
