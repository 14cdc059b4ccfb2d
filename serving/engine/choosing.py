"""Opens a bundle's engine on the runtime that was asked for, or on the one that computes it quicker."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from serving.bundle import Bundle
from serving.engine.arithmetic import Differs, hold_against_calibration
from serving.engine.backends.names import AskedPrecision, AskedRuntime, RuntimeName
from serving.engine.backends.registry import candidates, inference_precision, make_backend
from serving.engine.batch_limits import most_rows
from serving.engine.engine import Engine
from serving.engine.providers import CPU, DeviceFeatures, wanted
from serving.engine.rest import Rest, no_rest
from serving.engine.sessions import available_providers
from serving.engine.timing import Clock, least_seconds_in_turn
from serving.engine.trial import noise
from serving.errors import OfframpError
from serving.interfaces import Tensors

_CLEARLY = 0.9
"""The runtime that answers are known from is kept, unless another takes less than this share of its time."""

_BATCH = 8
_BATCH_BYTES = 64 * 2**20
_ROUNDS = 3
_SECONDS = 5.0  # after which no further round begins

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineOptions:
    """How a bundle's engine is opened.

    Attributes:
        runtime: what runs it; `auto` times those that are installed and fit.
        inference_precision: what float32 is computed in; `auto` is the calibration's.
        threads, providers, strict, device_features, warm_up_seconds, pause: as for `Engine`.
    """

    runtime: AskedRuntime = "auto"
    inference_precision: AskedPrecision = "auto"
    threads: int = 0
    providers: Sequence[str] | None = None
    strict: bool = False
    device_features: DeviceFeatures = "auto"
    warm_up_seconds: float = 300.0
    pause: Rest = no_rest


@dataclass(frozen=True)
class Opened:
    """An engine, and what the choice of its runtime rests on.

    Attributes:
        engine: warmed up.
        milliseconds: per image at full depth, by runtime; empty where there was nothing to choose.
        differs: how its arithmetic differs from the calibration's; None where it does not.
    """

    engine: Engine
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    differs: Differs | None = None


def open_engine(
    bundle: Bundle,
    options: EngineOptions,
    clock: Clock = time.perf_counter,
    processor: Clock | None = time.process_time,
) -> Opened:
    """Open a bundle's engine.

    Args:
        bundle: what it runs.
        options: on what, and how.
        clock: seconds from any origin, for the comparison of runtimes.
        processor: as for `compare`.

    Raises:
        BundleError: it cannot be run.
        EngineError: what was asked for is not to be had.
    """
    on_gpu = options.device_features == "on" or wanted(options.providers, available_providers())[0] != CPU
    first, *others = candidates(
        bundle.manifest,
        options.runtime,
        options.inference_precision,
        providers=options.providers,
        on_gpu=on_gpu,
    )
    known = _open(bundle, first, options)
    engines, found = [known], Opened(known)
    for runtime in others:
        try:
            rival = _open(bundle, runtime, options)
        except OfframpError as error:
            _LOGGER.info("%s does not run on %s: %s", bundle.name, runtime, error)
            continue
        engines.append(rival)
        times = compare([known, rival], clock, options.pause, processor)
        chosen = rival if times[1] < _CLEARLY * times[0] else known
        found = Opened(chosen, {first: 1000 * times[0], runtime: 1000 * times[1]})
    differs = hold_against_calibration(bundle, found.engine, options.pause, opened=engines)
    return replace(found, differs=differs)


def compare(
    engines: Sequence[Engine],
    clock: Clock,
    pause: Rest = no_rest,
    processor: Clock | None = None,
) -> list[float]:
    """Time engines of one bundle in turn: seconds per image at full depth, each at its best.

    Args:
        engines: warmed up.
        clock: seconds from any origin.
        pause: called after each run, with its seconds.
        processor: as for `least_seconds_in_turn`.
    """
    segments = engines[0].segments
    rows = min(_BATCH, *most_rows(segments, _BATCH, _BATCH_BYTES))
    images = noise(segments, rows)
    seconds = least_seconds_in_turn(
        [partial(_to_full_depth, engine, images) for engine in engines],
        clock,
        # The first round of each pays for memory, and for kernels that are made for the size of a batch.
        rounds=1 + _ROUNDS,
        pause=pause,
        processor=processor,
        enough_seconds=_SECONDS,
    )
    return [least / rows for least in seconds]


def _to_full_depth(engine: Engine, images: npt.NDArray[np.uint8]) -> None:
    inputs: Tensors = (images,)
    for stage in range(engine.stages):
        inputs = engine.run(stage, inputs)[1]


def _open(bundle: Bundle, runtime: RuntimeName, options: EngineOptions) -> Engine:
    precision = inference_precision(bundle.manifest, options.inference_precision, runtime)
    return Engine(
        bundle,
        threads=options.threads,
        strict=options.strict,
        device_features=options.device_features,
        warm_up_seconds=options.warm_up_seconds,
        pause=options.pause,
        backend=make_backend(runtime, precision, options.providers),
    )
