"""The recipe to train a run again, as plain values that a manifest can keep."""

from pathlib import Path

from pydantic import JsonValue

from training.methods import method_options
from training.runs.checkpoint import Checkpoint
from training.runs.run import Run

KEPT = (
    *("batch_size", "lr", "momentum", "weight_decay", "schedule", "precision", "augment", "train_limit"),
    *("loss_weighting", "backbone_epochs", "label_smoothing", "distil", "distil_temperature", "distil_from"),
    *("freeze", "backbone_lr", "layer_decay", "pretrained"),
    *("weight_ema", "feature_split", "whiten", "nesterov", "decoupled_weight_decay", "start_size"),
    *("identity_start", "bias_lr", "freeze_bn_scale"),
    *("recipe", "alternate_flip", "border", "max_shift"),
)
"""The settings of `training.fit` that decide what is learned, beside data, model and method.

No path is among them: a manifest never names a folder of a machine.
"""


def recipe_of(run: Run) -> dict[str, JsonValue]:
    """Return a run's method options, epochs done, seconds, seed and settings.

    `started_from` holds the same of the run whose weights it started from, and that run's method, where that
    folder is still there; it is null where it is gone or there was none. Where only the layers that fit were
    taken over, it names that run's data set, too. Of a run that was converted only its file is known.

    Raises:
        RunError: no epoch is done, or the checkpoint is damaged.
    """
    config, checkpoint = run.config, Checkpoint.load(run.checkpoint_path)
    if run.facts.converted:
        return {"converted_from": run.facts.converted}
    options = method_options(config.method, config.method_option).model_dump(mode="json")
    stored = config.stored()
    start = config.init_from or config.transfer_from
    started_from: JsonValue = None
    if start is not None and (start / "config.json").exists():
        first = Run.open(start)
        data_set = {"transferred_from": Path(first.config.dataset).name} if config.transfer_from else {}
        started_from = {"method": first.config.method, **data_set, **recipe_of(first)}
    return {
        **options,
        "epochs": checkpoint.epoch,
        "training_seconds": round(checkpoint.seconds),
        "seed": config.seed,
        **{name: stored[name] for name in KEPT},
        "started_from": started_from,
    }
