"""One request's images on their way through the threads: decoded, admitted, answered."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from serving.answer import Answer
from serving.errors import ClosedError, DeadlineError, OfframpError
from serving.options import ClassifyOptions
from serving.scheduler.deadlines import TOO_LATE
from serving.telemetry.request_times import RequestTimes
from serving.web.access.limits import Charge
from serving.web.mailbox import LoopMailbox
from serving.web.served import ServedModel, Work

Follow = Callable[[npt.NDArray[np.uint8], "Future[Any]"], None]
"""Told of admitted images, uint8 [N, H, W, 3], and of the future that gets their answers."""


class ImageReader(Protocol):
    """Makes images of what a request brought."""

    @property
    def failures(self) -> Mapping[int, OfframpError]:
        """Why images were left out, by their place in the request."""

    def step(self) -> npt.NDArray[np.uint8] | None:
        """Do a part of the work; return all images, uint8 [N, H, W, 3], once they are there."""


class ClassifyJob:
    """Decodes a body and submits its images in threads; the event loop is woken once, at the end.

    Args:
        model: who answers.
        ask: what is asked for.
        received_at: the second of `time.monotonic` at which the request's headers were there.
        reader: decodes the body.
        charge: counts the images against the caller's key; None where nothing limits that.
        mailbox: brings the end into the event loop.
        woken: set at the end.
        told: told of images of the random sample (see `serving.model.Model.submit`); None where nobody is.
        followers: told of the images and of the future of their answers.

    Attributes:
        over: whether it has ended.
        refusal: why the request was not admitted; None where it was.
        times: where its time went; None where nobody asked.
    """

    def __init__(
        self,
        model: ServedModel,
        ask: ClassifyOptions,
        *,
        received_at: float,
        reader: ImageReader,
        charge: Charge | None = None,
        mailbox: LoopMailbox,
        woken: asyncio.Event,
        told: Callable[[int, int], None] | None = None,
        followers: Sequence[Follow] = (),
    ) -> None:
        self._followers = followers
        self.over = False
        self.refusal: Exception | None = None
        self.times = RequestTimes() if ask.timings else None
        self._model = model
        self._ask = ask
        self._received_at = received_at
        self._reader: ImageReader | None = reader
        self._charge = charge
        self._mailbox = mailbox
        self._woken = woken
        self._told = told or _untold
        self._work: Work | None = None
        self._abandoned = False

    def step(self) -> bool:
        """Decode an image, or submit them once all are there; in a thread that may be kept for a while.

        Returns:
            Whether there is more to do.
        """
        reader = self._reader
        if self._abandoned or reader is None:
            self._reader = None
            return False
        if self.times is not None and self.times.decoding_at is None:
            self.times.decoding_at = time.monotonic()
        try:
            pixels = reader.step()
            if pixels is None:
                return True
            self._reader = None  # and with it the body
            if not len(pixels):  # none of a list could be read
                self._mailbox.post(self._end)
                return False
            if self.times is not None:
                self.times.admitted_at = time.monotonic()
            work = self._submit(pixels)
        except BaseException as error:  # of any kind: the caller waits for an answer
            self._reader = None
            self._fail(error)
            return False
        self._wait_for(work)
        return False

    def give_up(self) -> None:
        """Refuse the request if it was not admitted in time; of one that was, the model takes care."""
        if self._work is None:
            self.refusal = DeadlineError(TOO_LATE)
            self.abandon()
            self._end()

    def abandon(self) -> None:
        """Drop the images where they are: their caller has gone."""
        self._abandoned = True
        if self._work is not None:
            self._work.cancel()

    @property
    def succeeded(self) -> bool:
        """Whether all images have answers, where the request is over."""
        future = None if self._work is None else self._work.future
        return future is not None and not future.cancelled() and future.exception() is None

    def answers(self) -> Sequence[Answer]:
        """The outcome of a request that is over and was not refused; nothing where there were no images.

        Raises:
            ClosedError: it was dropped.
            OfframpError: what the model failed with.
        """
        if self._work is None:
            return ()
        try:
            answers: Sequence[Answer] = self._work.future.result()
        except CancelledError as error:
            raise ClosedError("the request was dropped before it was answered") from error
        return answers

    def _submit(self, pixels: npt.NDArray[np.uint8]) -> Work:
        """Have the model admit the images, if the caller's key may ask for as much."""
        charge = self._charge
        if charge is not None:
            charge.take(len(pixels))
        try:
            work = self._model.submit(pixels, self._ask, received_at=self._received_at, told=self._told)
        except BaseException:
            if charge is not None:
                charge.drop()
            raise
        if charge is not None:
            work.future.add_done_callback(charge.settle)
        for follow in self._followers:
            follow(pixels, work.future)
        return work

    def _wait_for(self, work: Work) -> None:
        self._work = work
        if self.times is not None:
            self.times.stages = work.stage_times or ()
        if self._abandoned:  # in the meantime; from now on `abandon` cancels the work itself
            work.cancel()
        work.future.add_done_callback(lambda _: self._mailbox.post(self._end))

    def _fail(self, error: BaseException) -> None:
        if not isinstance(error, Exception):
            error = RuntimeError(f"{type(error).__name__}: {error}")
        self.refusal = self.refusal or error
        self._mailbox.post(self._end)

    def _end(self) -> None:
        self.over = True
        self._woken.set()


def _untold(place: int, class_index: int) -> None:
    """Let go of what the last exit says: nobody wants to know."""
