"""The settings of an export: each field is an argument of `offramp export`."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from training.models.fields import Positive

Precision = Literal["float32", "float16", "int8"]
"""Those of `serving.bundle.manifest`, which loads onnx: a type checker holds the one against the other."""


class ExportSettings(BaseModel):
    """Options of an export."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: Annotated[Precision, BeforeValidator(lambda given: {"fp16": "float16"}.get(given, given))] = (
        Field("float32", description="float32, int8 for CPUs, or fp16 (float16) for GPUs")
    )
    max_drop: float = Field(
        0.5, ge=0, description="points of validation accuracy that int8 or fp16 may lose at any exit"
    )
    calibration_images: Positive = Field(
        512, description="training images, not augmented, that the ranges of int8 are taken from"
    )
    reduce_range: bool = Field(
        True,
        description="int8 weights of 7 bits, right on any CPU; without, of 8 bits, for CPUs with VNNI alone",
    )
    float_segments: tuple[Positive, ...] = Field(
        (),
        description="numbers of segments that stay in float32 with --precision int8; in a cascade these are "
        "its members",
    )
    licence: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="the licence that the bundle is given under, as the Hub writes it, such as apache-2.0",
    )
    decode: Literal["scaled"] | None = Field(
        None,
        description="scaled: large JPEGs are decoded at 1/2, 1/4 or 1/8 of their size, down to what the "
        "network takes; quicker, and calibrated on these pixels",
    )
    samples: int = Field(
        0,
        ge=0,
        le=64,
        description="calibration images, drawn at random, that go into the bundle for people to try it with; "
        "they are published with it",
    )
    gather_rows: bool = Field(
        False, description="segments take `rows` and gather the survivors themselves, for GPUs"
    )
