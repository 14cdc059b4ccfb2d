"""`POST /classify` from bytes to bytes: the hot path, with no framework on it."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from serving.errors import DeadlineError, OfframpError
from serving.events import RequestRefused
from serving.options import ClassifyOptions, Priority, lower_of
from serving.policy.budget import check_budget
from serving.scheduler.deadlines import TOO_LATE, answer_seconds
from serving.web.access.limits import charge_of
from serving.web.answer_bytes import NO_FAILURES, AnswerResponse
from serving.web.answer_form import PLAIN, AnswerForm, read_form
from serving.web.connection.caller import ClientConnection, WatchedConnection, caller_of
from serving.web.job import ClassifyJob, Follow, ImageReader
from serving.web.label_notes import LabelNotes, place_of
from serving.web.mailbox import LoopMailbox
from serving.web.problems import problem_of, problem_text
from serving.web.reading.body import BodyHeaders, body_headers, receive_body
from serving.web.reading.byte_budget import Share
from serving.web.reading.images import BodyReader
from serving.web.reading.query import PARAMETERS, read_options, read_query
from serving.web.served import ServedModel
from serving.web.service import Service

_KEPT_QUERIES = 1024
_KEPT_QUERY_BYTES = 256


class Classify:
    """Reads a request, has its images decoded and answered by other threads, and waits.

    Args:
        service: models, settings and threads.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._mailbox: LoopMailbox | None = None
        self._kept = lru_cache(_KEPT_QUERIES)(self._read_query)
        self._check_budget = lru_cache(_KEPT_QUERIES)(check_budget)

    async def __call__(self, scope: Scope, receive: Receive) -> AnswerResponse:
        """Answer one request.

        Raises:
            OfframpError: it is refused, or fails.
            ClientDisconnect: the caller has gone.
        """
        try:
            answer = await self._start(scope, receive)
        except OfframpError as error:
            self._service.emit(RequestRefused(type(error).__name__))
            raise
        return answer()

    async def _start(self, scope: Scope, receive: Receive) -> Callable[[], AnswerResponse]:
        """Take a request to its end, or to the error that it is refused with."""
        received_at = time.monotonic()
        query = scope["query_string"]
        # Impossible options are refused before the body is read.
        ask, form, version = self._kept(query) if len(query) <= _KEPT_QUERY_BYTES else self._read_query(query)
        request_id = scope.get("state", {}).get("request_id")
        with self._service.lease(ask.model, version, request_id) as chosen:
            if chosen.versioned:
                scope["state"]["model_version"] = chosen.number
            return await self._answer(chosen.model, ask, form, scope, receive, received_at)

    async def _answer(
        self,
        model: ServedModel,
        ask: ClassifyOptions,
        form: AnswerForm,
        scope: Scope,
        receive: Receive,
        received_at: float,
    ) -> Callable[[], AnswerResponse]:
        if ask.budget is not None:
            self._check_budget(str(ask.budget), model.exit_flops, model.exit_seconds)
        state = scope.setdefault("state", {})
        caller = caller_of(scope)
        headers = body_headers(scope)
        service = self._service
        service.refuse_if_stalled(model)
        with service.bodies.share() as share:
            body = await self.body(headers, receive, caller, _late_at(ask, received_at), share)
            reader = BodyReader(
                body,
                headers.content_type,
                model.manifest.preprocessing,
                service.read_limits,
                item_errors=form.item_errors,
            )
            state["received_bytes"] = len(body)
            del body  # the reader lets go of it when the images are there
            waiting = caller or WatchedConnection(receive)
            try:
                job = await self.run(
                    model,
                    ask,
                    reader,
                    waiting,
                    received_at,
                    state.get("priority"),
                    state.get("request_id"),
                    here=not service.settings.decode_threads and reader.quick,
                )
            finally:
                if isinstance(waiting, WatchedConnection):
                    waiting.close()
        failures = {index: problem_text(error) for index, error in reader.failures.items()}
        return lambda: AnswerResponse(
            job.answers(),
            listed=reader.listed,
            classes=model.manifest.classes,
            form=form,
            failures=failures or NO_FAILURES,
            times=job.times if form.timings else None,
        )

    async def run(
        self,
        model: ServedModel,
        ask: ClassifyOptions,
        reader: ImageReader,
        caller: ClientConnection,
        received_at: float,
        priority: Priority | None = None,
        request_id: str | None = None,
        here: bool = False,
    ) -> ClassifyJob:
        """Have images read, admitted and answered, and wait; the same for every protocol.

        Args:
            model: who answers.
            ask: what is asked for.
            reader: reads the images; let go of once they are there.
            caller: who waits.
            received_at: the second of `time.monotonic` from which a deadline counts.
            priority: the most urgent class that the caller has; None where it has none.
            request_id: by which labels may come; None where the caller does not know it.
            here: whether they are one image, which is decoded in the event loop.

        Raises:
            OfframpError: the request was not admitted.
            ClientDisconnect: the caller has gone.
        """
        if priority is not None:
            ask = replace(ask, priority=lower_of(ask.priority, priority))
        tracing, notes = self._service.tracing, None
        traced = tracing is not None and tracing.sampled
        if traced:
            ask = replace(ask, timings=True)
        noted = self._service.notes
        if noted is not None and request_id is not None and not ask.explain:
            max_drop = self._service.settings.max_drop
            notes = LabelNotes(noted, model, request_id, ask, max_drop, reader)
        job = ClassifyJob(
            model,
            ask,
            received_at=received_at,
            reader=reader,
            charge=charge_of(ask, model.exit_flops, model.exit_seconds),
            mailbox=self._mailbox_of_this_loop(),
            woken=caller.message_event,
            followers=self._followers(model, ask, request_id, reader),
            told=None if notes is None else notes.told,
        )
        del reader
        await self._end(job, caller, _late_at(ask, received_at), here)
        if job.refusal is not None:
            raise job.refusal
        if job.times is not None:
            job.times.answered_at = time.monotonic()
        if notes is not None and job.succeeded:
            notes.note(job.answers())
        if tracing is not None and traced and job.times is not None:
            tracing.answered(job.times, job.answers() if job.succeeded else ())
        return job

    async def body(
        self,
        headers: BodyHeaders,
        receive: Receive,
        caller: ClientConnection | None,
        late_at: float | None,
        share: Share,
    ) -> bytes:
        """Receive a request's body within the limits of size and time.

        Args:
            headers: what they say of it.
            receive: ASGI's.
            caller: who sends it, where the server says so.
            late_at: the second of `time.monotonic` at which it is too late for an answer.
            share: of what all requests may hold.

        Raises:
            DeadlineError: it was not there by then.
            OfframpError, ClientDisconnect: as `receive_body`.
        """
        settings = self._service.settings
        if caller is not None and not caller.more_body:  # reading it does not wait
            return await receive_body(headers, receive, settings.max_body_bytes, None, share)
        try:
            async with asyncio.timeout(None if late_at is None else late_at - time.monotonic()):
                return await receive_body(
                    headers, receive, settings.max_body_bytes, settings.body_timeout_seconds, share
                )
        except TimeoutError as error:  # No image has an answer before all are here.
            raise DeadlineError(TOO_LATE) from error

    async def _end(
        self, job: ClassifyJob, caller: ClientConnection, late_at: float | None, here: bool
    ) -> None:
        """Start a job and wait until it is over.

        Raises:
            OverloadedError: too many wait to be decoded.
            ClientDisconnect: the caller has gone.
        """
        timer = None
        if late_at is not None:
            timer = asyncio.get_running_loop().call_later(late_at - time.monotonic(), job.give_up)
        try:
            if here:
                job.step()
            else:
                self._service.pool.start(job.step)
            while not job.over:
                if caller.disconnected:
                    raise ClientDisconnect
                await caller.message_event.wait()
                caller.message_event.clear()
        finally:
            if timer is not None:
                timer.cancel()
            if not job.over:
                job.abandon()

    def _followers(
        self, model: ServedModel, ask: ClassifyOptions, request_id: str | None, reader: ImageReader
    ) -> list[Follow]:
        """Who keeps some of the images, where the operator wants that."""
        found: list[Follow] = []
        recent, capture = self._service.recent, self._service.capture
        if recent is not None:
            found.append(partial(recent.follow, model.name))
        if capture is not None and not ask.explain:
            follow = partial(capture.follow, model.name, model.identity)
            found.append(partial(follow, request=request_id, place_of=partial(place_of, reader)))
        return found

    @staticmethod
    def _read_query(query: bytes) -> tuple[ClassifyOptions, AnswerForm, str | None]:
        given = read_query(query, *PARAMETERS)
        form = read_form(given)
        ask = read_options(given)
        if form.needs_probabilities:
            ask = replace(ask, probabilities=True)
        if form.timings:
            ask = replace(ask, timings=True)
        return ask, PLAIN if form == PLAIN else form, given.get("version")

    def _mailbox_of_this_loop(self) -> LoopMailbox:
        loop = asyncio.get_running_loop()
        if self._mailbox is None or self._mailbox.loop is not loop:
            self._mailbox = LoopMailbox(loop)
        return self._mailbox


def _late_at(ask: ClassifyOptions, received_at: float) -> float | None:
    """The second of `time.monotonic` at which it is too late for an answer; None where it never is."""
    return None if ask.deadline_seconds is None else received_at + answer_seconds(ask.deadline_seconds)


class ClassifyApp:
    """An ASGI app that is `POST /classify` alone, its errors included.

    Args:
        classify: what answers.
        logger: gets what clients are not to see.
    """

    def __init__(self, classify: Classify, logger: FilteringBoundLogger) -> None:
        self._classify = classify
        self._logger = logger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; an unexpected error is raised again once it was answered, for the log."""
        try:
            response = await self._classify(scope, receive)
        except (OfframpError, ClientDisconnect) as error:
            await problem_of(error, self._logger)(scope, receive, send)
        except Exception as error:
            await problem_of(error, self._logger)(scope, receive, send)
            raise
        else:
            await response(scope, receive, send)
