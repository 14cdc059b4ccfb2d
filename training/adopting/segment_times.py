"""Times of an assembled network's segments, in place of their FLOPs."""

import time

import numpy as np
import numpy.typing as npt

from serving.engine.timing import Clock, graph_seconds
from training.adopting.assembling import Assembled
from training.exporting.graph import IMAGES, Boundary, split_at_boundaries
from training.models.flops import SegmentFlops

_NANO = 1e9


def segment_times(
    assembled: Assembled, image: npt.NDArray[np.uint8], clock: Clock = time.perf_counter
) -> list[SegmentFlops]:
    """Measure every segment with one image, and without its head; the difference is the head.

    Args:
        assembled: the network, in float32.
        image: uint8 [1, H, W, 3].
        clock: in seconds.

    Returns:
        Nanoseconds of each body and head, at least one of each.
    """
    bodies = [Boundary(part.inputs, part.outputs[1:]) for part in assembled.parts[:-1]]
    whole = split_at_boundaries(assembled.whole, assembled.parts)
    without_head = split_at_boundaries(assembled.whole, bodies)
    given = {IMAGES: image}
    found = []
    for number, part in enumerate(assembled.parts):
        seconds, outputs = graph_seconds(whole[number], given, clock)
        body = seconds
        if number < len(bodies):
            body = min(seconds, graph_seconds(without_head[number], given, clock)[0])
        head = max(1, round(_NANO * (seconds - body))) if number < len(bodies) else 0
        found.append(SegmentFlops(max(1, round(_NANO * body)), head))
        given = {spec.name: outputs[spec.name] for spec in part.outputs[1:]}
    return found
