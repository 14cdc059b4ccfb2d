"""A second opinion on a few answers: images that left early are run to the end when the queues are empty.

The sample is drawn, with a seed, at admission, so that it depends neither on the images' difficulty nor on
the load. A sampled image that left early goes through all stages once more, in a scheduler of its own
that is stepped only when the model's has nothing to do: callers wait for at most the one small batch that is
under way. Nothing is kept of the first run, so watching costs callers no memory of features either, only the
copy of the sampled images. Images that do not fit the backlog are dropped and counted.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.answer import Answer
from serving.errors import OfframpError
from serving.events import Event, ExitShadowed
from serving.interfaces import Tensors
from serving.scheduler.request import Request

Told = Callable[[int, int], None]
"""Told of a sampled image's place in its request, and of the class that the last exit gives to it."""
Images = npt.NDArray[np.uint8]
Thresholds = tuple[float, ...]
SubmitIdle = Callable[[Tensors], Request[Sequence[int]]]
"""Images [N, H, W, 3] in, the class index that the last exit gives to each out; `OfframpError` if full."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of the watched images that left at an exit: how many, and how many the last exit agrees on."""

    watched: int
    agreed: int


class ShadowEvaluator:
    """Samples requests, has early answers checked, and says how that went.

    Args:
        model: its name.
        exit_flops: K costs of leaving at an exit, in FLOPs per image.
        share: of the images that is sampled, 0 to 1.
        seed: of the draw.
        submit: admits images to run to the end in idle time.
        emit: gets `ExitShadowed`.
        observe: called with the exit, whether the last one agreed, and the thresholds of the request.
    """

    def __init__(
        self,
        model: str,
        exit_flops: Sequence[int],
        *,
        share: float,
        seed: int,
        submit: SubmitIdle,
        emit: Callable[[Event], None] = lambda event: None,
        observe: Callable[[int, bool, Thresholds], None] = lambda exit_index, agreed, thresholds: None,
    ) -> None:
        self._model = model
        self._exit_flops = tuple(exit_flops)
        self._share = share
        self._submit = submit
        self._emit = emit
        self._observe = observe
        self._random = np.random.default_rng(seed)
        self._passing = self._draw_gap() if share else 0
        self._lock = threading.Lock()
        self._seen = [(0, 0) for _ in exit_flops]
        self.missed = 0
        """Number of early answers sampled and not checked, since the backlog was full or closed."""

    def follow(
        self,
        images: Images,
        future: Future[list[Answer]],
        thresholds: Thresholds = (),
        told: Told = lambda place, class_index: None,
    ) -> None:
        """Sample the images of a request, and check their answers once they are there.

        Args:
            images: uint8 [N, H, W, 3].
            future: gets the answers.
            thresholds: what decides where they leave; none if something else may, too.
            told: told of every sampled image that has a class of the last exit.
        """
        if not self._share:
            return
        with self._lock:
            sampled, place = [], self._passing
            while place < len(images):
                sampled.append(place)
                place += self._draw_gap() + 1
            self._passing = place - len(images)
        if sampled:
            kept = images[sampled]  # a copy: the caller's array is the caller's again once it has the answers
            future.add_done_callback(lambda done: self._check(kept, sampled, done, thresholds, told))

    def _draw_gap(self) -> int:
        """Draw the number of images between two sampled ones, where each is sampled with the same chance."""
        return int(self._random.geometric(self._share)) - 1

    def agreement(self) -> dict[int, Agreement]:
        """The agreement by the index of the exit; only exits that had shadowed images."""
        with self._lock:
            return {index: Agreement(*seen) for index, seen in enumerate(self._seen) if seen[0]}

    def _check(
        self,
        images: Images,
        positions: Sequence[int],
        done: Future[list[Answer]],
        thresholds: Thresholds,
        told: Told,
    ) -> None:
        if done.cancelled() or done.exception() is not None:
            return
        answers = [done.result()[position] for position in positions]
        for position, answer in zip(positions, answers, strict=True):
            if answer.exit == len(self._exit_flops):
                told(position, answer.class_index)
        early = [index for index, answer in enumerate(answers) if answer.exit < len(self._exit_flops)]
        if not early:
            return
        try:
            request = self._submit((images[early],))
        except OfframpError:  # full or closed: the answer was given, only the check is lost
            with self._lock:
                self.missed += len(early)
            return
        first = {positions[index]: answers[index] for index in early}
        request.future.add_done_callback(lambda final: self._compare(first, final, thresholds, told))

    def _compare(
        self,
        first: Mapping[int, Answer],
        final: Future[Sequence[int]],
        thresholds: Thresholds,
        told: Told,
    ) -> None:
        if final.cancelled() or final.exception() is not None:
            with self._lock:
                self.missed += len(first)
            return
        for (position, answer), class_index in zip(first.items(), final.result(), strict=True):
            told(position, class_index)
            exit_index, agreed = answer.exit - 1, answer.class_index == class_index
            with self._lock:
                watched, agreeing = self._seen[exit_index]
                self._seen[exit_index] = (watched + 1, agreeing + agreed)
            self._emit(ExitShadowed(self._model, exit_index, agreed, self._exit_flops[-1]))
            self._observe(exit_index, agreed, thresholds)
