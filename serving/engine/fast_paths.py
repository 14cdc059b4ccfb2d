"""Opens the shortcuts of a bundle, and keeps those that agree with its segments and pay.

Each is a session with weights of its own, so a graph that saves less than a few per cent is not kept.

A segment without its head must put out the same features to the last bit, or later confidences would depend
on who was in the batch. The whole net in one graph is run for images that can leave nowhere but at the last
exit, for all of them and always: it may differ there by `ALLOWED`, since nothing is held against a threshold
any more (docs/decisions/0009-shortcuts-agree-or-cut-nothing.md).
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from serving.bundle import Bundle
from serving.bundle.manifest import ROWS, SegmentSpec, TensorSpec
from serving.engine.engine import Engine
from serving.engine.graph_variants import headless, whole
from serving.engine.rest import Rest, resting
from serving.engine.timing import Clock, least_seconds_in_turn
from serving.engine.trial import noise
from serving.interfaces import NO_FAST_PATHS, FastPaths, FloatArray, Tensors

ALLOWED = 0.02
"""Largest difference of a probability between the whole net and its segments."""

_IMAGES = 8
_ROUNDS = 3
_LEAST_HEAD = 0.01  # of a segment's FLOPs: a lesser head costs less than a second copy of the weights
_LEAST_GAIN = 0.05  # of the seconds, likewise

_LOGGER = logging.getLogger(__name__)

Runner = Callable[[Tensors], Tensors]


@dataclass(frozen=True)
class _Seen:
    """A segment's outputs for seeded images."""

    inputs: Tensors
    probabilities: FloatArray
    features: Tensors


def shorten(bundle: Bundle, engine: Engine, clock: Clock = time.perf_counter) -> FastPaths:
    """Open the shortcuts of a bundle that pay; none where features stay on a device.

    Args:
        bundle: what the engine runs.
        engine: opens the sessions, and is what they are held against.
        clock: seconds from any origin, for the comparison of speed.
    """
    stages = range(engine.stages)
    if engine.features_on != "host" or len(stages) == 1:
        return NO_FAST_PATHS
    files = [bundle.segment_bytes(stage) for stage in stages]
    seen = _step_by_step(bundle, engine)
    kept = {
        stage: run
        for stage in stages[:-1]
        if _head_share(bundle.manifest.segments[stage]) >= _LEAST_HEAD
        and (run := _without_head(bundle, engine, files[stage], stage, seen[stage])) is not None
    }

    def chain(inputs: Tensors) -> None:
        for stage in stages:
            inputs = kept[stage](inputs) if stage in kept else engine.run(stage, inputs)[1]

    segments = bundle.manifest.segments
    images = seen[0].inputs
    opened = _open(
        engine, lambda: whole(files, segments), segments[0].feature_inputs, segments[-1].outputs[:1], images
    )
    if opened is None:
        return FastPaths(kept)

    def straight(inputs: Tensors) -> FloatArray:
        probabilities: FloatArray = opened(inputs)[0]
        return probabilities

    found = straight(images)
    apart = np.abs(found - seen[-1].probabilities).max()
    if not apart <= ALLOWED or not _quicker(straight, chain, images, clock, engine.pause):
        return FastPaths(kept)
    return FastPaths(kept, straight, whole_is_exact=bool(np.array_equal(found, seen[-1].probabilities)))


def _head_share(segment: SegmentSpec) -> float:
    return segment.head_flops / (segment.head_flops + segment.body_flops)


def _without_head(bundle: Bundle, engine: Engine, file: bytes, stage: int, seen: _Seen) -> Runner | None:
    """Open a segment without its head; None where that is not possible, or not the same."""
    segment = bundle.manifest.segments[stage]
    run = _open(
        engine, lambda: headless(file, segment), segment.feature_inputs, segment.outputs[1:], seen.inputs
    )
    if run is None or not all(map(np.array_equal, run(seen.inputs), seen.features)):
        return None
    return run


def _open(
    engine: Engine,
    make: Callable[[], bytes],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    example: Tensors,
) -> Runner | None:
    """Open a variant and run it once; None where the graphs do not allow it, or the runtime does not."""
    names = [tensor.name for tensor in inputs]
    wanted = [tensor.name for tensor in outputs]

    def run(tensors: Tensors) -> Tensors:
        feed = dict(zip(names, tensors, strict=True))
        if gathers:
            feed[ROWS] = np.arange(len(tensors[0]), dtype=np.int64)
        return tuple(session.run(wanted, feed))

    try:
        session = engine.open(make())
        gathers = any(value.name == ROWS for value in session.inputs)
        run(example)
    except (
        Exception
    ) as error:  # The tools for graphs can fail in any way on a stranger's: it is run as it is.
        _LOGGER.info("%s cannot be had in a shorter graph: %s", ", ".join(wanted), error)
        return None
    return run


def _step_by_step(bundle: Bundle, engine: Engine) -> list[_Seen]:
    """Run seeded images through all segments."""
    inputs: Tensors = (noise(bundle.manifest.segments, _IMAGES),)
    seen = []
    run = resting(engine.run, engine.pause)
    for stage in range(engine.stages):
        probabilities, features = run(stage, inputs)
        seen.append(_Seen(inputs, probabilities, features))
        inputs = features
    return seen


def _quicker(
    first: Callable[[Tensors], object],
    second: Callable[[Tensors], object],
    inputs: Tensors,
    clock: Clock,
    pause: Rest,
) -> bool:
    """Whether the first takes clearly less time than the second, each at its best of a few runs in turn."""
    runs = [partial(run, inputs) for run in (first, second)]
    seconds, others = least_seconds_in_turn(runs, clock, rounds=_ROUNDS, pause=pause)
    return seconds < (1 - _LEAST_GAIN) * others
