"""The settings of a calibration: each field is an argument of `offramp calibrate`."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

ENOUGH_LABELS = 500
"""Captured images with labels that are taken in place of all, with the network's own answers."""

_OF_DATA_SETS = ("image_column", "label_column", "split", "validation_share", "allow_trained_images")


class CalibrateConfig(BaseModel):
    """Options of a calibration."""

    dataset: str | None = Field(
        None,
        min_length=1,
        description="labelled images of the bundle's classes: digits, cifar10, cifar100, fashion-mnist, a "
        "Hugging Face Hub name, a folder of images by class, or a folder of parquet shards; with --truth "
        "own, a folder of images alone",
    )
    from_capture: Path | None = Field(
        None,
        description="in place of --dataset: images of live traffic, from the --state-dir of a server with "
        "--capture",
    )
    truth: Literal["labels", "own"] | None = Field(
        None,
        description="the truth: the labels, or the last exit's own answers, for images without labels; where "
        f"not given the labels, but of captured images only if {ENOUGH_LABELS} or more have one",
    )
    image_column: str | None = Field(None, description="column of the images, if the features do not show it")
    label_column: str | None = Field(None, description="column of the labels, if the features do not show it")
    split: Literal["train", "validation", "test", "all"] | None = Field(
        None,
        description="which images: all, or the part that training would draw of them; where not given, the "
        "validation images of the data set that the bundle was trained on, and all of any other",
    )
    split_seed: int | None = Field(None, ge=0, description="seed of the split; the bundle's where not given")
    validation_share: float | None = Field(
        None, gt=0, lt=0.8, description="share of the validation part, if drawn; the bundle's where not given"
    )
    allow_trained_images: bool = Field(
        False,
        description="calibrate even on images that the network was trained on, of which it is too sure; no "
        "guarantee (max_drop) is given then",
    )
    runtime: Literal["onnxruntime", "openvino"] | None = Field(
        None,
        description="what computes the answers, as the server will: onnxruntime or openvino; that of the "
        "bundle's calibration where not given",
    )
    inference_precision: Annotated[
        Literal["float32", "bfloat16"] | None,
        BeforeValidator(lambda given: {"bf16": "bfloat16"}.get(given, given)),
    ] = Field(
        None,
        description="what a network in float32 is computed in, float32 or bf16 (bfloat16, with openvino); "
        "that of the bundle's calibration where not given, or float32 on another runtime",
    )
    out: Path | None = Field(None, description="where the new bundle goes; in place where not given")
    force: bool = Field(False, description="replace the bundle at --out")

    @model_validator(mode="after")
    def _has_images(self) -> Self:
        if (self.dataset is None) == (self.from_capture is None):
            raise ValueError("expected --dataset or --from-capture, one of them")
        given = [name for name in _OF_DATA_SETS if name in self.model_fields_set]
        if self.from_capture is not None and given:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise ValueError(f"no {flags} with --from-capture: captured images are taken as they are")
        return self
