"""One request's images on their way through the threads: decoded, admitted, answered."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import CancelledError

from serving.answer import Answer
from serving.errors import ClosedError, DeadlineError
from serving.options import ClassifyOptions
from serving.scheduler.deadlines import TOO_LATE
from serving.settings import Settings
from serving.web.body import Images, read_images
from serving.web.mailbox import LoopMailbox
from serving.web.service import ServedModel, Work


class ClassifyJob:
    """Decodes a body and submits its images in a thread; the event loop hears of it once, at the end.

    Args:
        model: who answers.
        ask: what is asked for.
        received_at: the second of `time.monotonic` at which the request's headers were there.
        body: as it arrived.
        content_type: of the body.
        settings: limits.
        mailbox: brings the end into the event loop.
        woken: set at the end.

    Attributes:
        over: whether it has ended.
        refusal: why the request was not admitted; None where it was.
        listed: whether the caller sent a list of images.
    """

    def __init__(
        self,
        model: ServedModel,
        ask: ClassifyOptions,
        *,
        received_at: float,
        body: bytes,
        content_type: str,
        settings: Settings,
        mailbox: LoopMailbox,
        woken: asyncio.Event,
    ) -> None:
        self.over = False
        self.refusal: Exception | None = None
        self.listed = False
        self._model = model
        self._ask = ask
        self._received_at = received_at
        self._body = body
        self._content_type = content_type
        self._settings = settings
        self._mailbox = mailbox
        self._woken = woken
        self._work: Work | None = None
        self._abandoned = False

    def run(self) -> None:
        """Decode and submit; in a thread that may be kept."""
        if self._abandoned:
            return
        try:
            images = self._images()
            self.listed = images.listed
            work = self._model.submit(images.pixels, self._ask, received_at=self._received_at)
        except Exception as error:
            self.refusal = self.refusal or error
            self._mailbox.post(self._end)
            return
        self._wait_for(work)

    def give_up(self) -> None:
        """Refuse the request if it was not admitted in time; of one that was, the model takes care."""
        if self._work is None:
            self.refusal = DeadlineError(TOO_LATE)
            self.abandon()
            self._end()

    def abandon(self) -> None:
        """Drop the images where they are; nobody waits for them any more."""
        self._abandoned = True
        if self._work is not None:
            self._work.cancel()

    def answers(self) -> Sequence[Answer]:
        """What came out of an admitted request that is over.

        Raises:
            ClosedError: it was dropped.
            OfframpError: what the model failed with.
        """
        assert self._work is not None  # noqa: S101 - else there is a refusal
        try:
            answers: Sequence[Answer] = self._work.future.result()
        except CancelledError as error:
            raise ClosedError("the request was dropped before it was answered") from error
        return answers

    def _wait_for(self, work: Work) -> None:
        self._work = work
        if self._abandoned:  # in the meantime; from now on `abandon` cancels the work itself
            work.cancel()
        work.future.add_done_callback(lambda _: self._mailbox.post(self._end))

    def _images(self) -> Images:
        settings = self._settings
        return read_images(
            self._body,
            self._content_type,
            self._model.manifest.preprocessing,
            settings.max_images,
            settings.max_pixels,
        )

    def _end(self) -> None:
        self.over = True
        self._woken.set()
