"""`--compile auto`: whether compiling pays over the epochs of a run, by a trial on this machine.

Compiling takes a minute or more before the first step, and gains little on some processors (docs/recipe.md).
So the trial comes last: a run that is too short for one is not compiled, and one that compiling would not end
earlier by a tenth is not either. A decision is written into the run's config.json, once.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from training.fitting.image_sizes import side_at
from training.methods.interface import Phase

MOST_SHARE = 0.05
"""The share of a run that a trial may take: where it says no, so much is lost."""
LEAST_SECONDS = 30.0
"""A trial that may take no longer is not begun: few networks are compiled by then."""
LEAST_GAIN = 0.1
"""The share of its time that a run must gain: times of a few steps are no surer than that."""


class TrialError(Exception):
    """A trial came to no result; the text says why."""


@dataclass(frozen=True)
class StepTimes:
    """Seconds of a training step, as the net is and compiled, and of compiling it once."""

    plain: float
    compiled: float
    compiling: float


RunTrial = Callable[[float], StepTimes]
"""The most seconds that it may take -> what it found; raises `TrialError`."""


@dataclass(frozen=True)
class Work:
    """The steps of a run: how many, all exits' worth each, and how many compilations they need."""

    steps: float
    compilations: int


@dataclass(frozen=True)
class Choice:
    """Whether a run is compiled, in words why, its estimated seconds uncompiled, and what a trial found."""

    compiled: bool
    reason: str
    run_seconds: float
    trial: StepTimes | None = None

    def facts(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return asdict(self)


def choose(work: Work, step_seconds: float, most_seconds: float | None, trial: RunTrial) -> Choice:
    """Decide.

    Args:
        work: of the run.
        step_seconds: of an uncompiled step of all exits.
        most_seconds: for which the run trains at most; None where nothing ends it early.
        trial: measures on this machine.
    """
    run_seconds = work.steps * step_seconds
    if most_seconds is not None:
        run_seconds = min(run_seconds, most_seconds)
    if MOST_SHARE * run_seconds < LEAST_SECONDS:
        return Choice(False, f"{_minutes(run_seconds)} of training are too short to try it", run_seconds)
    try:
        found = trial(MOST_SHARE * run_seconds)
    except TrialError as error:
        return Choice(False, str(error), run_seconds)
    compiled_seconds = run_seconds * found.compiled / found.plain + work.compilations * found.compiling
    reason = (
        f"{_minutes(run_seconds)} of training would take {_minutes(compiled_seconds)} compiled: a step "
        f"{found.compiled:.3g} s in place of {found.plain:.3g}, compiling {found.compiling:.0f} s"
        + (f", {work.compilations} times" if work.compilations > 1 else "")
    )
    return Choice(compiled_seconds < (1 - LEAST_GAIN) * run_seconds, reason, run_seconds, found)


def work_of(
    phases: Sequence[Phase],
    steps: Sequence[int],
    epochs: int,
    exit_flops: Sequence[int],
    start_size: int | None,
    image_size: int,
) -> Work:
    """Return the work of so many epochs.

    A pass that ends at an early exit counts by its share of the FLOPs; all passes count as training, at the
    full image size.

    Args:
        phases: the passes of an epoch.
        steps: of each of them.
        epochs: of the run.
        exit_flops: [K] FLOPs of an image that leaves at each exit.
        start_size: side of the images at first, in pixels; None where it is the full one.
        image_size: the full one.
    """
    depths = [1.0 if not p.exits else exit_flops[p.exits[-1]] / exit_flops[-1] for p in phases]
    sets = {None if phase.exits is None else tuple(phase.exits) for phase in phases}
    start = start_size or image_size
    sides = {side_at(percent / 100, start, image_size) for percent in range(101)}
    per_epoch = sum(count * depth for count, depth in zip(steps, depths, strict=True))
    return Work(epochs * per_epoch, len(sets) * len(sides))


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
