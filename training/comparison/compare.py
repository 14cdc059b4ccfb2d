"""Trains a model by several methods, and gathers what came of it."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from training.comparison.config import CompareConfig
from training.comparison.document import Comparison
from training.comparison.plan import ComparisonPlan
from training.comparison.poster import poster_table
from training.comparison.progress import CompareProgress
from training.comparison.runs import PlannedRun, RunResult, bring, check_runs
from training.comparison.summary import MethodSummary, View
from training.data.split import Split
from training.errors import RunError
from training.runs.provenance import git_revision
from training.runs.run import Run


def compare(config: CompareConfig, shared: Mapping[str, Any], command: str) -> Comparison:
    """Bring every run to its end, and gather what they came to.

    Args:
        config: what is compared.
        shared: settings of `training.fit` that every run has.
        command: the command at hand, for the report.

    Raises:
        ConfigError: settings that cannot be used, or contradict runs in `config.out`; nothing is trained.
        DataError: the data set cannot be used.
        RunError: no run reached its end, or a run folder is damaged.
    """
    plan = ComparisonPlan(config, shared)
    equal_epochs, trials = plan.equal_epochs(), plan.trials()
    check_runs([*chain.from_iterable(equal_epochs), *trials])
    per_view = len(plan.contenders) * len(config.seeds)
    runs = per_view * (bool(config.epochs) + bool(config.max_minutes)) + len(trials)
    views = []
    with CompareProgress(runs) as progress:
        if config.epochs:
            views.append(_view("epochs", f"equal epochs: {config.epochs}", equal_epochs, progress))
        if config.max_minutes:
            epochs = [_epochs_that_fit(trial, config.max_minutes, progress) for trial in trials]
            equal_time = plan.equal_time(epochs)
            check_runs([*chain.from_iterable(equal_time)])
            title = f"equal training time: {config.max_minutes:g} minutes"
            views.append(_view("minutes", title, equal_time, progress))
    return _comparison(command, config, tuple(views))


def _view(key: str, title: str, planned: Sequence[Sequence[PlannedRun]], progress: CompareProgress) -> View:
    standings = [
        MethodSummary(runs[0].contender, tuple(bring(run, progress) for run in runs)) for runs in planned
    ]
    return View(key, title, tuple(standings))


def _epochs_that_fit(trial: PlannedRun, minutes: float, progress: CompareProgress) -> int:
    """Time one epoch; one at least is planned, however long it takes."""
    outcome = bring(trial, progress, measure=False)
    return max(1, int(60 * minutes / outcome.seconds)) if outcome.epochs else 1


def _comparison(command: str, config: CompareConfig, views: tuple[View, ...]) -> Comparison:
    """Gather what all runs share from the first that reached its end."""
    outcomes = [outcome for view in views for standing in view.standings for outcome in standing.outcomes]
    ended = next((outcome for outcome in outcomes if outcome.measured), None)
    if ended is None or ended.measured is None:
        failures = "; ".join(f"{outcome.planned.name}: {outcome.failure}" for outcome in outcomes)
        raise RunError(f"no run reached its end, so there is nothing to report: {failures}")
    run, split = Run.open(ended.planned.folder), Split.load(ended.planned.folder / "split.npz")
    images = {part: len(getattr(split, part)) for part in ("train", "validation", "test")}
    measured = ended.measured
    table = poster_table(run.architecture.name, measured.data_set, measured.exit_flops)
    return Comparison(command, _facts(run, ended, images, config), views, table, images)


def _facts(run: Run, ended: RunResult, images: Mapping[str, int], config: CompareConfig) -> dict[str, str]:
    settings, environment = run.config, run.facts.environment
    options = " ".join(f"{key}={value}" for key, value in settings.model_option.items())
    return {
        "data set": ended.measured.data_set if ended.measured else settings.dataset,
        "images": ", ".join(f"{count:,} {part}" for part, count in images.items()),
        "model": settings.model + (f" ({options})" if options else ""),
        "seeds": ", ".join(map(str, config.seeds)),
        "recipe": f"SGD, learning rate {settings.lr:g} ({settings.schedule}), "
        f"momentum {settings.momentum:g}, weight decay {settings.weight_decay:g}, "
        f"batch size {settings.batch_size}, {settings.precision}",
        "computed on": f"{environment['gpu'] or environment['cpu']}, {environment['threads']} threads, "
        f"torch {environment['torch']}",
        "code": git_revision(Path(__file__).parent) or "not in a repository",
    }
