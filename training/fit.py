"""`offramp fit`: train a multi-exit model, resumable at any moment, bit for bit."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from serving import command_line
from serving.command_line import Given
from training.config import Divide, FitConfig

if TYPE_CHECKING:
    from training.data.batches import Data
    from training.fitting.parallel import Processes
    from training.runs.run import Run


class FitPlace(BaseModel):
    """Where a run lives."""

    out: Path = Field(description="run folder")
    resume: bool = Field(False, description="go on with the run in --out from its last whole epoch")
    divide: Divide = Field(
        "batches", description="torchrun's processes divide these: batches, or tasks (the exits of meta-gf)"
    )


class Arguments(FitPlace, FitConfig):
    """Train a multi-exit model."""


def main(argv: Sequence[str] | None = None) -> int:
    """Train a new run, or go on with one."""
    return command_line.run(lambda: _fit(command_line.given(Arguments, "fit", argv)))


def _fit(given: Given) -> None:
    resumes = given.read(FitPlace).resume
    place = given.read(FitPlace if resumes else Arguments)
    from training.fitting.fit import fit
    from training.fitting.parallel import joined

    with joined(place.divide) as processes:
        fit(*_opened(place, given, processes), processes=processes)


def _opened(place: FitPlace, given: Given, processes: "Processes") -> "tuple[Run, Data]":
    """Start or resume the run; of several processes the first makes the folder that the others open."""
    from training.runs.start import check_divide, resumed, started

    if place.resume:
        run, data = resumed(place.out, given.of(FitConfig), processes.slice)
        check_divide(place.divide, run.config.method)
        return run, data
    config = given.read(FitConfig)
    check_divide(place.divide, config.method)
    if processes.first:
        run, data = started(place.out, config, processes.slice)
    processes.wait()
    return (run, data) if processes.first else resumed(place.out, {}, processes.slice)


if __name__ == "__main__":
    command_line.leave(main())
