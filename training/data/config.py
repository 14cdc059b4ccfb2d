"""The settings of the data: each field is a flag of the training commands."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Augment = Literal["none", "crop", "crop-flip"]
Border = Literal["black", "reflect"]
ValidationFrom = Literal["train", "test"]


class DataConfig(BaseModel):
    """Options of the data: its source, split and preparation."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="data")

    dataset: str = Field(
        min_length=1,
        description="digits, cifar10, cifar100, fashion-mnist, a Hugging Face Hub name (owner/name, with "
        ":config where the data set has several), a folder of images by class, or a folder of parquet shards",
    )
    image_column: str | None = Field(
        default=None, description="column of the images, if the features do not show it"
    )
    label_column: str | None = Field(
        default=None, description="column of the labels, if the features do not show it"
    )
    image_size: int | None = Field(
        default=None,
        ge=8,
        le=4096,
        description="side of the square images the model sees, in pixels; without it what the model preset "
        "takes",
    )
    augment: Augment | None = Field(
        default=None,
        description="augmentation of training images: none, crop or crop-flip; without it crop-flip, "
        "and crop for data sets of digits",
    )
    alternate_flip: bool = Field(
        default=False,
        description="mirror in every second epoch just the images that were not in the one before",
    )
    border: Border = Field(
        default="black", description="fill where a small image is shifted: black, or its reflection"
    )
    max_shift: int | None = Field(
        default=None, ge=0, description="pixels that a small image is shifted at most; an eighth of its side"
    )
    validation_share: float = Field(
        default=0.1,
        gt=0,
        lt=0.8,
        description="share of the training images kept for validation, where the data set has no such split",
    )
    validation_from: ValidationFrom = Field(
        default="train",
        description="where they are taken from; test, for weights that every training image was shown to",
    )
    train_limit: int | None = Field(
        default=None, gt=0, description="train on this many images only, drawn by class after splitting"
    )
    split_seed: int = Field(
        default=0, ge=0, description="seed of the split; apart from --seed, so that runs compare on one split"
    )
    workers: int = Field(
        default=2,
        ge=0,
        le=256,
        description="processes that load images too large or too many to keep in memory",
    )
