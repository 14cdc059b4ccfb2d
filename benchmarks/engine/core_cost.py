"""The cost of the server's core per image besides ONNX Runtime: microseconds of processor time.

    python -m benchmarks.engine.core_cost exported_models/msdnet7 --profile

A bundle's own calibration is replayed by a stand-in for the engine: its confidences as probabilities, and
features of a few bytes. 64 callers send one image each and send the next when they are answered, all at one
budget, through the model with everything that listens to it, as the server has it. What the stand-in itself
takes is timed and subtracted. `--profile` adds the functions that take the most time of their own.
"""

import argparse
import cProfile
import pstats
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np

from serving.bundle import Bundle, read_bundle
from serving.engine.backends.registry import calibrated_for
from serving.engine.engine import Engine
from serving.events import Event
from serving.model import Model, RuntimeOptions, ServingConfig
from serving.telemetry.metrics import Metrics

CALLERS = 64
WARM_UP = 10_000


class Replay:
    """Stands in for an engine: answers from the calibration, by a number written into the image."""

    providers: tuple[str, ...] = ("Replay",)
    missing: tuple[str, ...] = ()
    features_on = "host"

    def __init__(self, bundle: Bundle) -> None:
        confidence = bundle.calibration.confidence["max_probability"]
        classes = len(bundle.manifest.classes)
        self.stages = confidence.shape[1]
        rest = (1 - confidence) / (classes - 1)
        self._probabilities = np.repeat(rest.T[:, :, None], classes, axis=2).astype(np.float32)
        self._probabilities[:, :, 0] = confidence.T
        self.seconds = 0.0
        self.arithmetic = calibrated_for(bundle.manifest)

    def make_run(self, waiting: Any, *, max_batch: int) -> Any:
        """The stage that a scheduler runs."""
        return self.run

    def run(self, stage: int, inputs: Any) -> Any:
        """Look the answers up."""
        started = time.thread_time()
        numbers = (
            inputs[0].reshape(len(inputs[0]), -1)[:, :2].astype(np.int64) @ (256, 1)
            if stage == 0
            else inputs[0]
        )
        outputs = self._probabilities[stage][numbers], () if stage == self.stages - 1 else (numbers.copy(),)
        self.seconds += time.thread_time() - started
        return outputs


def numbered(bundle: Bundle) -> Any:
    """One image per calibration row, uint8 [N, 1, H, W, 3], that carries its number in its first pixel."""
    size = bundle.manifest.preprocessing
    images = np.zeros((len(bundle.calibration.labels), 1, size.height, size.width, 3), np.uint8)
    flat = images.reshape(len(images), -1)
    flat[:, 0], flat[:, 1] = np.divmod(np.arange(len(images)), 256)
    return images


def drive(model: Model, images: Any, budget: str, count: int, done: Callable[[], None]) -> None:
    """Answer `count` images from `CALLERS` callers, each with one image under way."""
    left, answered = count - CALLERS, 0

    def next_one(future: Future[Any] | None) -> None:
        nonlocal left, answered
        if future is not None:
            future.result()
            answered += 1
            if answered == count:
                done()
            if left <= 0:
                return
            left -= 1
        model.submit(images[left % len(images)], budget).future.add_done_callback(next_one)

    for _ in range(CALLERS):
        next_one(None)


def cost(
    bundle: Bundle, budget: str, count: int, emit: Any, rules: ServingConfig, profile: Any = None
) -> float:
    """Seconds of processor time per image, in all threads."""
    replay: Any = Replay(bundle)
    images = numbered(bundle)
    future: Future[float] = Future()
    engine: Engine = replay
    with Model(bundle, engine, RuntimeOptions(emit=emit, rules=rules)) as model:
        if profile is not None:
            step = model._worker._scheduler.step
            model._worker._scheduler.step = lambda: profile.runcall(step)  # type: ignore
        # The closed loop plans anew while its correction still moves to where it never was.
        drive(model, images, budget, WARM_UP, lambda: future.set_result(0))
        future.result()
        replay.seconds, end = 0.0, Future[float]()
        started = time.process_time()
        drive(model, images, budget, count, lambda: end.set_result(time.process_time()))
        return float(end.result() - started - replay.seconds) / count


def main() -> None:
    """Measure with and without listeners."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--budget", default="50%")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    bundle = read_bundle(given.bundle)
    sampled = ServingConfig(sample_share=0.01)

    def counted() -> Any:
        metrics = Metrics()
        metrics.loaded(bundle.name, bundle.manifest.exit_flops)
        return metrics

    def nothing(event: Event) -> None:
        pass

    cases: dict[str, Callable[[], tuple[Any, ServingConfig]]] = {
        "open loop, nothing listens": lambda: (nothing, ServingConfig(controller=False)),
        "closed loop": lambda: (nothing, ServingConfig()),
        "closed loop, metrics": lambda: (counted(), ServingConfig()),
        "closed loop, metrics, 1% watched": lambda: (counted(), sampled),
    }
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(given.repeats):
        for name, make in cases.items():
            taken[name].append(cost(bundle, given.budget, given.images, *make()))
    for name, seconds in taken.items():
        print(
            f"{name:35} {1e6 * min(seconds):6.1f} us an image (median {1e6 * float(np.median(seconds)):.1f})"
        )
    if given.profile:
        profile = cProfile.Profile()
        cost(bundle, given.budget, given.images, counted(), sampled, profile)
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)


if __name__ == "__main__":
    main()
