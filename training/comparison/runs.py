"""The runs of a comparison: planned, trained where they are missing, and measured once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from serving.system.atomic import write_atomically
from training.comparison.contenders import MethodEntry
from training.comparison.progress import CompareProgress
from training.config import FitConfig
from training.errors import NonFiniteLossError, RunError
from training.evaluation.areas import Areas
from training.evaluation.config import EvaluateConfig
from training.evaluation.curves import Point
from training.evaluation.evaluation import write
from training.evaluation.measure import evaluate_run
from training.fitting.fit import fit
from training.runs.checkpoint import Checkpoint
from training.runs.run import Run
from training.runs.start import check_start, check_unchanged, checked, resumed, started


@dataclass(frozen=True)
class PlannedRun:
    """A run of a comparison that may or may not be there yet."""

    contender: MethodEntry
    folder: Path
    config: FitConfig

    @property
    def name(self) -> str:
        """Name of the run on the screen."""
        return f"{self.contender.label} seed {self.config.seed}"


class Measured(BaseModel):
    """Results on a run's test images; kept in RUN/compare.json so that they are measured once.

    Args:
        epoch: the checkpoint that was measured, by its epochs.
        data_set: name of the data set.
        images: how many test images.
        fitted_on: where the curve's thresholds come from.
        exit_flops: [K], FLOPs per image.
        exit_accuracy: [K], in [0, 1].
        curve: the budgets of MSDNet's grid.
        areas: under the budgeted and the anytime curve; None in files made before there were any.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    data_set: str
    images: int
    fitted_on: str
    exit_flops: tuple[int, ...]
    exit_accuracy: tuple[float, ...]
    curve: tuple[Point, ...]
    areas: Areas | None = None


@dataclass(frozen=True)
class RunResult:
    """The outcome of a planned run.

    Args:
        planned: the run.
        epochs: whole epochs done.
        seconds: time that they took, validation included.
        images_per_second: training images of all passes, mean over the epochs; None before the first.
        learning: per epoch, (seconds of training so far, mean validation accuracy of the exits).
        measured: None where the run did not reach its end.
        failure: why it did not.
    """

    planned: PlannedRun
    epochs: int
    seconds: float
    images_per_second: float | None
    learning: tuple[tuple[float, float], ...]
    measured: Measured | None
    failure: str | None = None


def check_runs(runs: Sequence[PlannedRun]) -> None:
    """Check all runs: their settings, those of runs that are there, and what others start from.

    Args:
        runs: in the order in which they will be trained; one may start from another before it.

    Raises:
        ConfigError: settings that cannot be used, or differ from those of a run that is there.
        DataError: the data set cannot be used.
        RunError: a run folder is damaged, or there is none to start from.
    """
    settled: set[Path] = set()
    for run in runs:
        checked(run.config)
        start = run.config.init_from or run.config.transfer_from
        if (run.folder / "config.json").exists():
            check_unchanged(Run.open(run.folder), run.config)
        elif start and start.resolve() not in settled:
            check_start(run.config)
            settled.add(start.resolve())
        settled.add(run.folder.resolve())


def bring(planned: PlannedRun, progress: CompareProgress, measure: bool = True) -> RunResult:
    """Train what is missing of a run and measure it on its test images.

    A loss that is not finite is an outcome, not an error: the other runs go on.

    Args:
        planned: the run; finished, begun or missing.
        progress: shows it.
        measure: whether its test accuracy is wanted.
    """
    progress.begin(planned.name)
    failure = _failed_start(planned)
    if not failure and _epochs_done(planned.folder) < planned.config.epochs:
        try:
            if (planned.folder / "config.json").exists():
                run, data = resumed(planned.folder, planned.config.stored())
            else:
                run, data = started(planned.folder, planned.config)
            fit(run, data, show=progress.fitting)
        except NonFiniteLossError as error:
            failure = str(error)
    outcome = _outcome(planned, failure, measure)
    if failure:
        progress.end(f"failed: {failure}", "red")
    elif outcome.measured:
        accuracies = " ".join(f"{100 * value:.1f}" for value in outcome.measured.exit_accuracy)
        progress.end(f"test accuracy % {accuracies}")
    else:
        progress.end(f"{outcome.seconds:.0f} s")
    return outcome


def _failed_start(planned: PlannedRun) -> str | None:
    """Tell why a run cannot start from another of the same comparison; None where nothing is amiss."""
    start = planned.config.init_from or planned.config.transfer_from
    if start is None or start.resolve().parent != planned.folder.resolve().parent:
        return None
    if _epochs_done(start) < Run.open(start).config.epochs:
        return f"{start.name}, which it starts from, did not reach its end"
    return None


def _epochs_done(folder: Path) -> int:
    path = folder / "checkpoint.pt"
    return Checkpoint.load(path).epoch if path.exists() else 0


def _outcome(planned: PlannedRun, failure: str | None, measure: bool) -> RunResult:
    path = planned.folder / "checkpoint.pt"
    if not path.exists():
        return RunResult(planned, 0, 0.0, None, (), None, failure)
    checkpoint = Checkpoint.load(path)
    learning, seconds = [], 0.0
    for record in checkpoint.history:
        seconds += record["seconds"]
        accuracies = record["validation_accuracy"]
        learning.append((seconds, sum(accuracies) / len(accuracies)))
    speeds = [record["images_per_second"] for record in checkpoint.history]
    return RunResult(
        planned,
        checkpoint.epoch,
        checkpoint.seconds,
        sum(speeds) / len(speeds),
        tuple(learning),
        _measured(planned, checkpoint.epoch) if measure and not failure else None,
        failure,
    )


def _measured(planned: PlannedRun, epoch: int) -> Measured:
    kept = planned.folder / "compare.json"
    if kept.exists():
        try:
            measured = Measured.model_validate_json(kept.read_text())
        except ValidationError as error:
            raise RunError(f"{kept}: not a measurement of this version: remove it ({error})") from error
        if measured.epoch == epoch:
            return measured
    config = planned.config
    evaluation, _ = evaluate_run(
        Run.open(planned.folder), EvaluateConfig(device=config.device, threads=config.threads)
    )
    write(evaluation, planned.folder / "evaluation")
    measured = Measured(
        epoch=epoch,
        data_set=evaluation.data_set,
        images=evaluation.images,
        fitted_on=evaluation.fitted_on,
        exit_flops=evaluation.exit_flops,
        exit_accuracy=evaluation.exit_accuracy,
        curve=evaluation.curve,
        areas=evaluation.areas,
    )
    write_atomically(kept, measured.model_dump_json(indent=1) + "\n")
    return measured
