"""The cost of one request, part by part; each part is timed with the calls that really run."""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.answer import Answer
from serving.bundle import Bundle
from serving.events import Event, StageRan
from serving.model import Model, ServingConfig
from serving.web.answer_bytes import AnswerResponse
from serving.web.reading.images import BodyReader, ReadLimits

_REPEATS = 5


@dataclass(frozen=True)
class InModel:
    """Seconds of wall time of the engine for each image: in stages, and around them."""

    stages: float
    around: float

    @property
    def rate(self) -> float:
        """Images a second."""
        return 1 / (self.stages + self.around)


class Engine:
    """The engine alone: a loaded model, without HTTP.

    Args:
        bundle: what is loaded.
        images: uint8 [N, H, W, 3], each a request of its own.
    """

    def __init__(self, bundle: Bundle, images: npt.NDArray[np.uint8]) -> None:
        self._images = images
        self._stage_seconds = 0.0
        # With the loop open, so that images take the exits that the floors count with.
        rules = ServingConfig(controller=False)
        self.model = Model.load(bundle, max_queue_rows=len(images), rules=rules, emit=self._listen)
        gc.collect()
        gc.freeze()  # as the server does

    def run(self, budget: str) -> InModel:
        """Answer all images under a budget, every one of them waiting from the start."""
        self._stage_seconds = 0.0
        started = time.perf_counter()
        works = [self.model.submit(image, budget) for image in self._images]
        for work in works:
            work.future.result()
        wall = time.perf_counter() - started
        count = len(self._images)
        return InModel(self._stage_seconds / count, (wall - self._stage_seconds) / count)

    def close(self) -> None:
        """Unload the model."""
        self.model.close()

    def _listen(self, event: Event) -> None:
        if isinstance(event, StageRan):
            self._stage_seconds += event.seconds


def decode_seconds(bundle: Bundle, bodies: Sequence[bytes]) -> float:
    """Processor time of turning one body into pixels."""
    spec = bundle.manifest.preprocessing
    limits = ReadLimits(images=1, pixels=25_000_000, request_pixels=25_000_000)
    return _each(lambda body: BodyReader(body, "image/png", spec, limits).step(), bodies)


def response_seconds(bundle: Bundle, count: int = 1000) -> float:
    """Processor time of writing one answer."""
    classes, costs = bundle.manifest.classes, bundle.manifest.exit_flops
    answers = [
        Answer(
            classes[index % len(classes)], index % len(classes), 0.1 + index / 1e4, 1, costs[0], 1.5e8, "m"
        )
        for index in range(count)
    ]
    return _each(lambda answer: AnswerResponse([answer], listed=False), answers)


def _each(call: Callable[[Any], object], arguments: Sequence[Any]) -> float:
    """The least time of a call, of a few rounds over all arguments."""
    rounds = []
    for _ in range(_REPEATS):
        started = time.thread_time()
        for argument in arguments:
            call(argument)
        rounds.append((time.thread_time() - started) / len(arguments))
    return min(rounds)
