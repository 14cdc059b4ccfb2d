"""Lets a second model see a sample of what another one answered, when that has nothing else to do.

The images of a sampled request are kept until it is answered and its model is idle; then they go to the other
model, one request at a time, so that a caller waits for at most one small batch of it. What does not fit the
backlog is let go and counted.
"""

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from serving.answer import Answer
from serving.errors import OfframpError
from serving.options import ClassifyOptions
from serving.repository.comparison import Comparison

_MOST_IMAGES = 8  # of a request: a caller that comes in the meantime waits for them
_BACKLOG_IMAGES = 256

Images = npt.NDArray[np.uint8]


class Answers(Protocol):
    """A model (`serving.model.Model`)."""

    @property
    def waiting_rows(self) -> int:
        """How many images were admitted and not answered."""

    def submit(self, images: Images, ask: ClassifyOptions | None = None, *, shadow: bool = False) -> Any:
        """Admit images; the request's future gets their answers."""


class ShadowTraffic:
    """Samples the requests of a model, and has them answered by another.

    Args:
        model: whose requests; asked only whether it is idle.
        other: takes a lease on the model that sees the sample, an object with `model`.
        comparison: told of both answers; its share decides how many requests are sampled.
        seed: of the draw.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        model: Answers,
        other: Callable[[], AbstractContextManager[Any]],
        comparison: Comparison,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model, self._other, self._comparison = model, other, comparison
        self._random, self._clock = random.Random(seed), clock  # noqa: S311 - a sample, no secret
        self._lock = threading.Lock()
        self._backlog: deque[tuple[Images, ClassifyOptions, Sequence[Answer]]] = deque()
        self._waiting = 0
        self._busy = False
        self._ended = False

    def follow(self, images: Images, ask: ClassifyOptions, request: Any) -> None:
        """Sample a request that was just admitted; each one may find the model idle when it ends."""
        if ask.explain or self._ended:
            return
        with self._lock:
            sampled = self._random.random() < self._comparison.share
        if sampled:
            kept = images[
                :_MOST_IMAGES
            ].copy()  # the caller's array is the caller's again once it is answered
            request.future.add_done_callback(lambda done: self._keep(kept, ask, done))
        elif self._waiting:
            request.future.add_done_callback(lambda _: self.go_on())

    def end(self) -> None:
        """Sample no more, and forget what waits."""
        self._ended = True
        with self._lock:
            self._backlog.clear()
            self._waiting = 0

    def go_on(self) -> None:
        """Have the other model answer the next request, if there is one and the first model is idle."""
        with self._lock:
            if self._busy or not self._backlog or self._model.waiting_rows:
                return
            self._busy = True
            images, ask, first = self._backlog.popleft()
            self._waiting -= len(images)
        lease = self._other()
        started = self._clock()
        try:
            model = lease.__enter__().model
        except OfframpError:  # it was unloaded
            self._over(images, None)
            return
        try:
            request = model.submit(images, ask, shadow=True)
        except OfframpError:  # it is full, or cannot keep to this budget
            lease.__exit__(None, None, None)
            self._over(images, None)
            return

        def done(future: Future[list[Answer]]) -> None:
            lease.__exit__(None, None, None)
            if future.cancelled() or future.exception() is not None:
                self._over(images, None)
                return
            second = future.result()
            self._comparison.answered("shadow", second, self._clock() - started)
            self._comparison.both(first, second)
            self._over(images, second)

        request.future.add_done_callback(done)

    def _keep(self, images: Images, ask: ClassifyOptions, done: Future[list[Answer]]) -> None:
        if self._ended or done.cancelled() or done.exception() is not None:
            return
        asked = replace(ask, deadline_seconds=None, model=None, probabilities=False)
        with self._lock:
            fits = self._waiting + len(images) <= _BACKLOG_IMAGES
            if fits:
                self._backlog.append((images, asked, done.result()[: len(images)]))
                self._waiting += len(images)
        if not fits:
            self._comparison.missed(len(images))
        self.go_on()

    def _over(self, images: Images, answers: Sequence[Answer] | None) -> None:
        if answers is None:
            self._comparison.missed(len(images))
        with self._lock:
            self._busy = False
        self.go_on()
