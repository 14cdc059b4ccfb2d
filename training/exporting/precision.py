"""The precision of a bundle, and the conversion to it."""

from collections.abc import Callable, Sequence

import onnx

from training.data.batches import Data
from training.errors import RunError
from training.exporting.accuracy_bar import Bar, Lowered, Measure, lowered_to_half, lowered_to_int8
from training.exporting.config import ExportSettings
from training.exporting.float16 import halve
from training.exporting.graph import Boundary
from training.exporting.int8 import insert_quantizers

RANKING_IMAGES = 64
"""Training images that the layers of an int8 net are ranked on, where it loses too much."""


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
        RunError: it loses more than it may, or segments are to stay in float that it does not have.
    """
    if settings.precision == "float16":
        return lowered_to_half(*halve(whole, parts), measure, bar)
    segments = sorted(set(settings.float_segments))
    if segments and (segments[-1] > len(parts) or len(segments) == len(parts)):
        raise RunError(
            f"--float-segments {' '.join(map(str, segments))}: expected some of segments 1 to {len(parts)}, "
            "not all of them; leave --precision int8 out for a bundle in float32"
        )
    batches = [batch.images.numpy() for batch in data.training_sample(settings.calibration_images)]
    net = insert_quantizers(
        whole, parts, batches, reduce_range=settings.reduce_range, float_segments=segments
    )
    ranking = [batch.images.numpy() for batch in data.training_sample(RANKING_IMAGES)]
    return lowered_to_int8(net, parts, measure, bar, ranking, tell)
