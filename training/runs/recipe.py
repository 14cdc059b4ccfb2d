"""What it takes to train a run again, as plain values that a manifest can keep."""

from pydantic import JsonValue

from training.methods import method_options
from training.runs.checkpoint import Checkpoint
from training.runs.run import Run

KEPT = (
    *("batch_size", "lr", "momentum", "weight_decay", "schedule", "precision", "augment", "train_limit"),
    *("loss_weighting", "backbone_epochs", "label_smoothing", "distil", "distil_temperature", "distil_from"),
    *("freeze", "backbone_lr", "layer_decay", "pretrained"),
    *("weight_ema", "feature_split", "whiten", "nesterov", "decoupled_weight_decay", "start_size"),
    *("recipe", "alternate_flip", "border", "max_shift"),
)
"""The settings of `training.fit` that decide what is learned, beside data, model and method.

No path is among them: a manifest never names a folder of somebody's machine.
"""


def recipe_of(run: Run) -> dict[str, JsonValue]:
    """Return a run's method options, epochs done, seconds, seed and settings.

    `started_from` holds the same of the run whose weights it started from, and that run's method, where that
    folder is still there; it is null where it is gone or there was none.

    Raises:
        RunError: no epoch is done, or the checkpoint is damaged.
    """
    config, checkpoint = run.config, Checkpoint.load(run.checkpoint_path)
    options = method_options(config.method, config.method_option).model_dump(mode="json")
    stored = config.stored()
    start = config.init_from
    started_from: JsonValue = None
    if start is not None and (start / "config.json").exists():
        first = Run.open(start)
        started_from = {"method": first.config.method, **recipe_of(first)}
    return {
        **options,
        "epochs": checkpoint.epoch,
        "training_seconds": round(checkpoint.seconds),
        "seed": config.seed,
        **{name: stored[name] for name in KEPT},
        "started_from": started_from,
    }
