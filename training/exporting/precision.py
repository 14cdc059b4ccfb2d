"""What precision a bundle is exported in, and how it is got there."""

from collections.abc import Callable, Sequence
from typing import Annotated

import onnx
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from serving.bundle.manifest import Precision
from training.data import Data
from training.exporting.accuracy_bar import Bar, Lowered, Measure, lowered_to_half, lowered_to_int8
from training.exporting.float16 import halve
from training.exporting.graph import Boundary
from training.exporting.int8 import insert_quantizers
from training.models.fields import Positive

RANKING_IMAGES = 64
"""Training images that the layers of an int8 net are ranked on, where it loses too much."""


class ExportSettings(BaseModel):
    """How a run becomes a bundle."""

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
    gather_rows: bool = Field(
        False, description="segments take `rows` and gather the survivors themselves, for GPUs"
    )


def lower(
    whole: onnx.ModelProto,
    parts: Sequence[Boundary],
    settings: ExportSettings,
    data: Data,
    measure: Measure,
    bar: Bar,
    tell: Callable[[str], None],
) -> Lowered:
    """Bring a float net to the precision that is wanted, if that is not float32 already.

    Args:
        whole: in float32.
        parts: its boundaries.
        settings: what is wanted, float16 or int8.
        data: the run's, of whose training images int8 takes its ranges.
        measure: serves a net to the validation images.
        bar: the accuracy it is held against.
        tell: takes a sentence on what is going on.

    Raises:
        RunError: it loses more than it may.
    """
    if settings.precision == "float16":
        return lowered_to_half(*halve(whole, parts), measure, bar)
    batches = [batch.images.numpy() for batch in data.training_sample(settings.calibration_images)]
    net = insert_quantizers(whole, parts, batches, reduce_range=settings.reduce_range)
    ranking = [batch.images.numpy() for batch in data.training_sample(RANKING_IMAGES)]
    return lowered_to_int8(net, parts, measure, bar, ranking, tell)
