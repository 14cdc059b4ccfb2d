"""Opens a bundle's engine on the runtime that was asked for, or on the one that computes it quicker."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from serving.bundle import Bundle
from serving.engine.backends.names import AskedPrecision, AskedRuntime, RuntimeName
from serving.engine.backends.registry import candidates, inference_precision, make_backend
from serving.engine.batch_limits import most_rows
from serving.engine.engine import Engine
from serving.engine.providers import CPU, DeviceFeatures, wanted
from serving.engine.rest import Rest, no_rest
from serving.engine.sessions import available_providers
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
    """

    engine: Engine
    milliseconds: Mapping[str, float] = field(default_factory=dict)


def open_engine(
    bundle: Bundle,
    options: EngineOptions,
    clock: Callable[[], float] = time.perf_counter,
    processor: Callable[[], float] | None = time.process_time,
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
    found = Opened(known)
    for runtime in others:
        try:
            rival = _open(bundle, runtime, options)
        except OfframpError as error:
            _LOGGER.info("%s does not run on %s: %s", bundle.name, runtime, error)
            continue
        times = compare([known, rival], clock, options.pause, processor)
        chosen = rival if times[1] < _CLEARLY * times[0] else known
        found = Opened(chosen, {first: 1000 * times[0], runtime: 1000 * times[1]})
    return found


def compare(
    engines: Sequence[Engine],
    clock: Callable[[], float],
    pause: Rest = no_rest,
    processor: Callable[[], float] | None = None,
) -> list[float]:
    """Time engines of one bundle in turn: seconds per image at full depth, each at its best.

    Args:
        engines: warmed up.
        clock: seconds from any origin.
        pause: called after each run, with its seconds.
        processor: seconds of processor time of this process, which count where they are less: a run on one
            thread that waits for a core is not slower for it.
    """
    segments = engines[0].segments
    rows = min(_BATCH, *most_rows(segments, _BATCH, _BATCH_BYTES))
    shape = (rows, *(size or 1 for size in segments[0].inputs[0].shape[1:]))
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    best = [math.inf] * len(engines)
    taken = 0.0
    # The first round of each pays for memory, and for kernels that are made for the size of a batch.
    for _ in range(1 + _ROUNDS):
        if taken > _SECONDS and best[0] < math.inf:
            break
        for place, engine in enumerate(engines):
            started, used = clock(), 0.0 if processor is None else processor()
            inputs: Tensors = (images,)
            for stage in range(engine.stages):
                inputs = engine.run(stage, inputs)[1]
            seconds = clock() - started
            computed = seconds if processor is None else min(seconds, processor() - used)
            pause(seconds)
            best[place], taken = min(best[place], computed / rows), taken + seconds
    return best


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
