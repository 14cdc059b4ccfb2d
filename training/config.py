"""The settings of a training run: every field is a flag of `offramp fit`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from serving.system.resources import MOST_THREADS
from training.data.config import DataConfig
from training.errors import ConfigError
from training.models.config import ModelConfig
from training.recipes import RECIPES
from training.schedules import LOSS_WEIGHTINGS, SCHEDULES

TEMPERATURE = 3.0


def _none(value: object) -> object:
    """Read the word that takes back what a recipe sets."""
    return None if value == "none" else value


_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


def _flag_or_auto(value: object) -> object:
    """Read a flag, or the word that leaves it to a trial."""
    word = str(value).lower()
    if word not in (*_TRUE, *_FALSE, "auto"):
        raise ValueError("expected true, false or auto")
    return word if word == "auto" else word in _TRUE


class OptionConfig(BaseModel):
    """The options; docs/options.md names the source of each."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="techniques, off by default")

    backbone_epochs: int = Field(
        0, ge=0, description="of all epochs, so many first ones that train the last exit alone (mixed regime)"
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of each target that is spread over all classes"
    )
    distil: float = Field(0.0, ge=0, description="weight of learning from the last exit's prediction")
    distil_temperature: float = Field(TEMPERATURE, gt=0, description="temperature of that prediction")
    distil_from: Literal["last", "original"] = Field(
        "last",
        description="teacher of --distil: the last exit as it is trained, or the network that the run "
        "started from, which teaches the last exit as well",
    )
    freeze: str = Field(
        "none",
        description="layers that keep weights and BatchNorm: none, backbone (all but the heads of early "
        "exits), until:LAYER or until:exitN",
    )
    backbone_lr: float = Field(
        1.0, gt=0, description="factor on --lr of all but the early exits' heads, which begin untrained"
    )
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="factor on --lr of each segment, over that of the next one"
    )
    weight_ema: Annotated[float | None, BeforeValidator(_none)] = Field(
        None,
        gt=0,
        lt=1,
        description="keep the weights' moving average: its decay per step, or outer epoch; or none",
    )
    whiten: bool = Field(
        False, description="start the first convolution as a whitening of image patches, and freeze it"
    )
    identity_start: bool = Field(
        False, description="convolutions start by passing their input on, as far as they have channels for it"
    )
    bias_lr: float = Field(
        1.0, gt=0, description="learning rate of BatchNorm's biases, as a multiple of --lr; airbench has 64"
    )
    freeze_bn_scale: bool = Field(False, description="BatchNorm's scales are not trained")
    nesterov: bool = Field(False, description="Nesterov's momentum")
    decoupled_weight_decay: bool = Field(
        False, description="--weight-decay is the share of the weights that a step takes, at any --lr"
    )
    start_size: int | None = Field(
        None,
        ge=8,
        description="side of the images at first, in pixels; it grows to the full one as training goes",
    )
    compile: Annotated[bool | Literal["auto"], BeforeValidator(_flag_or_auto)] = Field(
        False,
        description="train the net as compiled by torch.compile; auto: where a trial says that it pays over "
        "the epochs",
    )
    feature_split: bool = Field(
        False, description="half of an exit head's input gets no gradient from later exits (DFS)"
    )


def check_options(options: OptionConfig, exits: int, epochs: int, stepwise: bool) -> None:
    """Refuse options that make no sense together, or with the run's model, method or length.

    Args:
        options: the options.
        exits: of the model.
        epochs: of the run.
        stepwise: whether every step of the method leads to the weights that are kept (all but Meta-GF).

    Raises:
        ConfigError: the first that does not fit.
    """
    for problem in _problems(options, exits, epochs, stepwise):
        raise ConfigError(problem)


def _problems(options: OptionConfig, exits: int, epochs: int, stepwise: bool) -> Iterator[str]:
    among_exits = {
        "--backbone-epochs": options.backbone_epochs,
        "--distil": options.distil,
        "--feature-split": options.feature_split,
        "--freeze backbone": options.freeze == "backbone",
    }
    for flag, given in among_exits.items():
        if given and exits == 1:
            yield f"{flag} needs a model of several exits, found one of a single exit"
    if options.backbone_epochs >= epochs:
        yield (
            f"--backbone-epochs {options.backbone_epochs}: expected fewer than the {epochs} of --epochs, so "
            "that the method trains as well"
        )
    if options.backbone_epochs and options.feature_split:
        yield (
            "--backbone-epochs cannot go with --feature-split: the half of the features that the split keeps "
            "for the early exits would stay untrained while the last exit trains alone"
        )
    if options.distil_temperature != TEMPERATURE and not options.distil:
        yield "--distil-temperature changes nothing without --distil WEIGHT: give both or neither"
    yield from _fine_tuning_problems(options)
    decay = options.weight_ema
    if decay and not stepwise and epochs > 1 and decay > 1 - 1 / epochs:
        yield (
            f"--weight-ema {decay:g} averages over {1 / (1 - decay):.0f} outer epochs of meta-gf, and the "
            f"run has {epochs}: expected at most {1 - 1 / epochs:.3g}"
        )


def _fine_tuning_problems(options: OptionConfig) -> Iterator[str]:
    if options.distil_from == "original" and not options.distil:
        yield "--distil-from original changes nothing without --distil WEIGHT: give both or neither"
    if options.whiten and options.freeze != "none":
        yield "--whiten would replace a layer that --freeze keeps: leave one out"
    if options.backbone_epochs and options.freeze == "backbone":
        yield "--backbone-epochs trains the backbone alone, --freeze backbone none of it: leave one out"


Divide = Literal["batches", "tasks"]
"""The work that several processes on one run divide: batches or tasks."""
ScheduleName = Literal["constant", "linear", "step", "cosine", "triangular"]
LossWeightingName = Literal["plain", "sdn-tau"]


class FitConfig(OptionConfig, ModelConfig, DataConfig):
    """Options that decide a run: data, model, method and optimiser."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="training")

    recipe: Literal["plain", "fast"] = Field(
        "plain",
        description="settings to begin with; a flag beside it wins. fast: for few epochs, see docs/recipe.md",
    )
    method: str = Field(
        "meta-gf", description="joint, ge, pcgrad, cagrad, online-gf, meta-gf or torchjd:NAME"
    )
    method_option: dict[str, str] = Field({}, description="key=value options of the method")
    loss_weighting: LossWeightingName = Field(
        "plain", description=f"weight of each exit's loss: {', '.join(LOSS_WEIGHTINGS)}"
    )
    epochs: int = Field(20, ge=1, description="epochs; an outer epoch of meta-gf costs several plain ones")
    max_minutes: float | None = Field(
        None, gt=0, description="stop after the last whole epoch that fits into this many minutes of training"
    )
    batch_size: int = Field(64, ge=2, description="images per step")
    lr: float = Field(0.1, gt=0, description="SGD's learning rate at the start")
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD's momentum")
    weight_decay: float = Field(1e-4, ge=0, description="L2 penalty")
    schedule: ScheduleName = Field("step", description=f"learning-rate schedule: {', '.join(SCHEDULES)}")
    precision: Literal["float32", "bf16"] = Field("float32", description="bf16 = mixed precision by autocast")
    threads: int | None = Field(
        None, ge=1, le=MOST_THREADS, description="CPU threads; all cores where not given"
    )
    seed: int = Field(0, ge=0, description="seed of weights, order and augmentation")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    init_from: Path | None = Field(None, description="run folder whose last weights this run starts from")
    transfer_from: Path | None = Field(
        None,
        description="run folder, of other classes or depth perhaps, whose layers this run starts from where "
        "names and shapes are the same",
    )
    init_weights: str | None = Field(
        None,
        description="file of the weights of the network that exits are added to, or torchvision for its "
        "ImageNet weights",
    )
    normalise: str | None = Field(
        None,
        description="how weights to start from take their pixels: imagenet, half, 0..1, 0..255, clip, "
        "MEAN:STD, weights (as they say themselves) or data (by the training images' own mean)",
    )

    @model_validator(mode="before")
    @classmethod
    def _begin_with_recipe(cls, given: Any) -> Any:
        """Fill in the recipe's values for options that were not given; read `pretrained`'s other name."""
        if isinstance(given, dict) and given.get("init_weights") == "torchvision":
            given = {**given, "init_weights": None, "pretrained": True}
        recipe = RECIPES.get(given.get("recipe")) if isinstance(given, dict) else None
        if recipe is None:
            return given
        method = given.get("method", cls.model_fields["method"].default)
        return {**recipe(str(method)), **given}

    def stored(self) -> dict[str, object]:
        """Return the settings as plain values for config.json."""
        return self.model_dump(mode="json")


# Options that may differ when a run is resumed: none of them changes the result, up to rounding.
RESUMABLE = frozenset({"max_minutes", "threads", "workers", "device"})
