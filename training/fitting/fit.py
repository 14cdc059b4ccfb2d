"""Trains a run from its last whole epoch, resumable at any moment, bit for bit.

Every random number of an epoch is drawn from a stream keyed on (seed, epoch, phase), so a checkpoint needs no
generator state: weights, the method's state and the number of epochs done are all that the next epoch
depends on.
"""

import copy
import errno
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from serving.command_line import program
from training.config import FitConfig
from training.data.batches import Data
from training.errors import RunError
from training.evaluation.predict import accuracy_per_exit, predict
from training.fitting.compile_trial import try_compiling
from training.fitting.losses import LossRecipe
from training.fitting.parallel import ALONE, Processes, tensors_in
from training.fitting.problem import Recipe, TrainingProblem
from training.fitting.progress import EpochWatch, FitProgress, NoProgress, RunProgress, ShowRun
from training.fitting.weight_average import KeptWeights, LastWeights, WeightAverage
from training.methods import Method, method, method_entry
from training.methods.backbone_first import BackboneFirst
from training.methods.interface import Phase
from training.models.multi_exit import MultiExitModel
from training.models.state_file import state_dict
from training.runs.checkpoint import Checkpoint, damaged, load_state, save_state
from training.runs.devices import use_device
from training.runs.environment import differences, environment
from training.runs.logs import RunLogs
from training.runs.run import Run
from training.runs.weights import write_weights
from training.schedules import LOSS_WEIGHTINGS, SCHEDULES, stage
from training.setup import whitening
from training.setup.identity import pass_on
from training.setup.init_weights import fill
from training.setup.preparing import prepared
from training.setup.transfer import transfer
from training.setup.whitening import first_weight, whiten

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def fit(
    run: Run,
    data: Data,
    clock: Callable[[], float] = time.monotonic,
    show: ShowRun = FitProgress,
    processes: Processes = ALONE,
) -> None:
    """Train `run` from its last whole epoch to its end, or until its time is up.

    Args:
        run: new, or stopped at any moment.
        data: the run's data, on the run's device.
        clock: seconds, for the record and `--max-minutes`.
        show: makes what shows the progress.
        processes: those of the run; the first of them validates, logs and saves.

    Raises:
        NonFiniteLossError: a loss is NaN or infinite; the last whole epoch is kept.
        RunError: another process trains the run, its checkpoint is damaged, or the disk is full; the last
            whole epoch is kept.
    """
    with run.held() if processes.first else nullcontext():
        try:
            _fit(run, data, clock, show, processes)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            raise RunError(
                f"{run.folder}: cannot be written: {error.strerror}; make room, and go on with --resume"
            ) from error


def _fit(run: Run, data: Data, clock: Callable[[], float], show: ShowRun, processes: Processes) -> None:
    config, device = run.config, use_device(run.config.device, run.config.threads)
    model = untrained(run, data)
    unkept = run.keep_graph(model) if processes.first else None
    problem = problem_of(run, model, data, device, processes)
    how, kept = method_of(config, problem), _kept_weights(config, model, problem)
    done, history, seconds = _restore(run, model, how, kept)
    phases = (*how.phases(), *kept.phases)
    steps = [data.steps(phase.share) for phase in phases]
    logs = RunLogs(run.folder, history) if processes.first else None
    with (show if processes.first else NoProgress)(config.epochs, phases, steps, done) as progress:
        if unkept:
            progress.say(unkept, "yellow")
        now = environment(torch.get_num_threads(), config.workers, device)
        for difference in differences(run.facts.environment, now):
            progress.say(
                f"warning: {difference} since the run began: the weights may differ in bits", "yellow"
            )
        if done >= config.epochs:
            progress.say(f"all {done} epochs are done: nothing to go on with; {program('export')} is next")
        if config.compile == "auto" and done < config.epochs:
            _settle_compiling(run, model, problem, phases, steps, processes, progress)
        for epoch in range(done, config.epochs):
            begun = clock()
            done_of_stage, epochs_of_stage = stage(epoch, config.epochs, config.backbone_epochs)
            watch = EpochWatch(progress, clock)
            problem.epoch, problem.on_progress = epoch, watch
            how.epoch()
            problem.agree(tensors_in(how.state_dict()))
            kept.after_epoch(problem)
            trained = clock() - begun
            if logs:
                history.append(
                    {
                        "epoch": epoch + 1,
                        "train_loss": watch.losses(model.exits),
                        "validation_accuracy": accuracy_per_exit(*predict(kept.model, data.selection())),
                        "lr": config.lr * SCHEDULES[config.schedule](done_of_stage / epochs_of_stage),
                        "images_per_second": watch.images / trained,
                        "seconds": trained,
                        **how.facts(),
                    }
                )
                seconds += clock() - begun
                state = kept.model.state_dict(), how.state_dict()
                trained_on = kept.trained(), kept.averaged
                Checkpoint(epoch + 1, *state, history, seconds, *trained_on).save(run.checkpoint_path)
                logs.epoch(history)
                progress.epoch(history[-1])
            expected = seconds + clock() - begun
            late = config.max_minutes is not None and expected > 60 * config.max_minutes
            if epoch + 1 < config.epochs and processes.any(late):
                progress.say(f"stopped: another epoch would pass --max-minutes {config.max_minutes:g}")
                break
    if logs:
        logs.close()
        if run.checkpoint_path.exists():
            write_weights(run)


def _settle_compiling(
    run: Run,
    model: MultiExitModel,
    problem: TrainingProblem,
    phases: Sequence[Phase],
    steps: Sequence[int],
    processes: Processes,
    progress: RunProgress,
) -> None:
    """Decide whether the run is compiled, where that was not decided when it began, and compile it if so."""
    chosen = bool(run.compiled)
    if run.compiled is None and processes.first:
        choice = try_compiling(run, model, phases, steps, run.config.batch_size // processes.slice[1])
        run.settle_compiling(choice.facts())
        progress.say(f"--compile auto: {'yes' if choice.compiled else 'no'}, {choice.reason}")
        chosen = choice.compiled
    if processes.any(chosen) and not run.compiled:
        problem.compile()


def untrained(run: Run, data: Data) -> MultiExitModel:
    """Return the model as the run's first epoch meets it, on the CPU.

    Once there is a checkpoint, it has all weights: the model is built alone, and nothing is read that the run
    started from.

    Args:
        run: whose model.
        data: the run's; a whitening is of its training images.
    """
    config = run.config
    torch.manual_seed(config.seed)
    model = run.fresh_model()
    if run.checkpoint_path.exists():
        return model
    if config.identity_start:
        pass_on(model)
    if config.init_from:
        model.load_state_dict(Run.open(config.init_from).model().state_dict())
    taken: set[str] = set()
    if config.transfer_from:
        taken = transfer(model, Run.open(config.transfer_from).model().state_dict())
    if config.init_weights:
        fill(model, state_dict(Path(config.init_weights).expanduser()), config.init_weights)
    drawn = config.init_from is None and first_weight(model) not in taken
    if config.whiten and drawn:
        whiten(model, (batch.images.cpu() for batch in data.training_sample(whitening.IMAGES)))
    return model


def problem_of(
    run: Run, model: MultiExitModel, data: Data, device: str, processes: Processes = ALONE
) -> TrainingProblem:
    """Return the run's training problem for `model`, which is moved to the device, in place."""
    config = run.config
    prepared(model, config, device)
    stepwise = method_entry(config.method).stepwise
    recipe = Recipe(
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        schedule=SCHEDULES[config.schedule],
        epochs=config.epochs,
        seed=config.seed,
        bf16=config.precision == "bf16",
        loss_weighting=LOSS_WEIGHTINGS[config.loss_weighting],
        loss=LossRecipe(
            label_smoothing=config.label_smoothing,
            distil=config.distil,
            temperature=config.distil_temperature,
            frozen_teacher=not stepwise,
            # Before its first epoch a net has nothing to teach, unless it was trained elsewhere.
            untaught_epochs=0 if stepwise or _is_trained(config) else 1,
        ),
        backbone_epochs=config.backbone_epochs,
        nesterov=config.nesterov,
        decoupled_weight_decay=config.decoupled_weight_decay,
        bias_lr=config.bias_lr,
        start_size=config.start_size,
        compiled=bool(run.compiled),
        backbone_lr=config.backbone_lr,
        layer_decay=config.layer_decay,
    )
    return TrainingProblem(model, data, recipe, processes, _original(run, model, processes))


def _is_trained(config: FitConfig) -> bool:
    return bool(config.init_from or config.init_weights or config.pretrained)


def _original(run: Run, model: MultiExitModel, processes: Processes) -> MultiExitModel | None:
    """Return the net that the run began with, where exits learn from it; the run keeps its weights."""
    if run.config.distil_from != "original":
        return None
    original = copy.deepcopy(model).requires_grad_(False).eval()
    if run.checkpoint_path.exists():
        original.load_state_dict(load_state(run.original_path))
    elif processes.first:
        save_state(run.original_path, original.state_dict())
    return original


def method_of(config: FitConfig, problem: TrainingProblem) -> Method:
    """Return the run's method, after the backbone's own epochs where there are any."""
    chosen = method(config.method, problem, config.method_option)
    return BackboneFirst(problem, config.backbone_epochs, chosen) if config.backbone_epochs else chosen


def _kept_weights(config: FitConfig, model: MultiExitModel, problem: TrainingProblem) -> KeptWeights:
    if config.weight_ema is None:
        return LastWeights(model)
    return WeightAverage(model, problem, config.weight_ema, method_entry(config.method).stepwise)


def _restore(
    run: Run, model: MultiExitModel, how: Method, kept: KeptWeights
) -> tuple[int, list[dict[str, Any]], float]:
    """Load the last whole epoch, where there is one; return epochs done, their records and their seconds."""
    if not run.checkpoint_path.exists():
        return 0, [], 0.0
    checkpoint = Checkpoint.load(run.checkpoint_path)
    try:
        model.load_state_dict(checkpoint.trained or checkpoint.model)
        how.load_state_dict(checkpoint.method)
        kept.restore(checkpoint)
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise damaged(run.checkpoint_path, error) from error
    return checkpoint.epoch, checkpoint.history, checkpoint.seconds
