"""The settings of a calibration: each field is an argument of `offramp calibrate`."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field


class CalibrateConfig(BaseModel):
    """What to calibrate on."""

    dataset: str = Field(
        min_length=1,
        description="labelled images of the bundle's classes: digits, cifar10, cifar100, fashion-mnist, a "
        "Hugging Face Hub name, a folder of images by class, or a folder of parquet shards",
    )
    image_column: str | None = Field(None, description="column of the images, where the features do not tell")
    label_column: str | None = Field(None, description="column of the labels, where the features do not tell")
    split: Literal["train", "validation", "test", "all"] = Field(
        "all", description="which images: all, or the part that training would draw of them"
    )
    split_seed: int | None = Field(None, ge=0, description="seed of the split; the bundle's where not given")
    validation_share: float = Field(0.1, gt=0, lt=0.8, description="share of the validation part, if drawn")
    out: Path | None = Field(None, description="where the new bundle goes; in place where not given")
    force: bool = Field(False, description="replace the bundle at --out")
