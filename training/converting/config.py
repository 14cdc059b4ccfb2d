"""The settings of `offramp convert`."""

from pathlib import Path

from pydantic import ConfigDict, Field
from pydantic_settings import CliPositionalArg

from training.models.config import ModelConfig


class ConvertConfig(ModelConfig):
    """Make a run of a published MSDNet checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="convert")

    checkpoint: CliPositionalArg[Path] = Field(description="its file: .pth, .pth.tar, .pt or .safetensors")
    out: Path = Field(description="run folder")
    model: str = Field("msdnet", description="preset of the MSDNet that was trained; --model-option over it")
    dataset: str = Field(
        min_length=1, description="that it was trained on, as training.fit has it; it needs a test part"
    )
    image_column: str | None = Field(None, description="column of the images")
    label_column: str | None = Field(None, description="column of the labels")
    normalise: str | None = Field(
        None,
        description="mean and deviation of its training images: cifar10, cifar100, imagenet, or "
        "MEAN:STD of three numbers each; without it by the number of classes",
    )
    validation_share: float = Field(
        0.5, gt=0, lt=0.8, description="share of the test images that calibrate; the others judge"
    )
    split_seed: int = Field(0, ge=0, description="seed of that division")
