"""`POST /classify`: images and a budget in, answers out."""

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive

from serving.answer import Answer
from serving.ask import MODES, PARAMETERS, read_ask
from serving.budget import parse_budget
from serving.errors import ClosedError, DeadlineError, OfframpError
from serving.events import RequestRefused
from serving.offers import TOO_LATE, answer_seconds
from serving.preprocess import CONTENT_TYPES, UNTYPED
from serving.web.body import JSON_TYPE, NPY_TYPE, Images, read_images, receive_body
from serving.web.problems import documented
from serving.web.query import read_query
from serving.web.schemas import AnswerBody, AnswersBody, ImagesBody, binary
from serving.web.service import Service, Work

BUDGET_PARAMETER = {
    "name": "budget",
    "in": "query",
    "description": "What an image may cost on average: `150MFLOPs`, `0.15GFLOPs`, `1.5e8`, or `50%` of the "
    "full depth. The server's default where absent.",
    "schema": {"type": "string"},
}
_TERMS_PARAMETERS = [
    {
        "name": "mode",
        "in": "query",
        "description": "`average`: the budget holds over all requests that ask for it. `hard`: the images of "
        "this request never cost more than their number times the budget.",
        "schema": {"type": "string", "enum": list(MODES), "default": "average"},
    },
    {
        "name": "deadline_ms",
        "in": "query",
        "description": "Milliseconds from the receipt of the request's headers: each image is answered by "
        "the deepest exit that is done by then.",
        "schema": {"type": "number", "exclusiveMinimum": 0},
    },
    {
        "name": "max_drop",
        "in": "query",
        "description": "The share of answers that leaving early may lose, with 95% confidence; a `budget` "
        "beside it is a cap on what that may cost. Goes with neither `mode=hard` nor `deadline_ms`.",
        "schema": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    },
]
_MODEL_PARAMETER = {
    "name": "model",
    "in": "query",
    "description": "Which model; needed where several are loaded and none is the default.",
    "schema": {"type": "string"},
}
_BODY = {
    "required": True,
    "content": binary(*CONTENT_TYPES.values(), *filter(None, UNTYPED), NPY_TYPE)
    | {JSON_TYPE: {"schema": ImagesBody.model_json_schema()}},
}


def router(service: Service) -> APIRouter:
    """Make the route over `service`."""
    routes = APIRouter()

    @routes.post(
        "/classify",
        summary="Classify images under a budget",
        responses={
            200: {"model": AnswerBody | AnswersBody},
            **documented(400, 404, 408, 413, 415, 422, 429, 500, 503, 504),
        },
        openapi_extra={
            "parameters": [BUDGET_PARAMETER, *_TERMS_PARAMETERS, _MODEL_PARAMETER],
            "requestBody": _BODY,
        },
    )
    async def classify(request: Request) -> Response:
        """Send one image as it is, several as JSON with base64 or as an `.npy` array.

        One image is answered with one object, a list with `{"results": [...]}`. Where one image of a list
        cannot be read, the request fails whole and the problem names the image's index.
        """
        try:
            work, listed = await _admit(service, request)
        except OfframpError as error:
            service.emit(RequestRefused(type(error).__name__))
            raise
        results = [_as_json(answer) for answer in await _answers(work, request.receive)]
        content = json.dumps({"results": results} if listed else results[0], allow_nan=False)
        return Response(content.encode(), media_type=JSON_TYPE)

    return routes


async def _admit(service: Service, request: Request) -> tuple[Work, bool]:
    """Read a request and submit its images; also say whether the caller sent a list of them."""
    received_at = time.monotonic()
    settings = service.settings
    query = read_query(request, *PARAMETERS, "model")
    model = service.choose(query.get("model"))
    ask = read_ask(query)  # What cannot be asked for is refused before the body is read.
    if "budget" in query:
        parse_budget(query["budget"], model.exit_flops)
    content_type = request.headers.get("content-type", "")

    def prepare(body: bytes) -> Images:
        model.prepare(ask)  # Planning a new budget takes milliseconds; `submit` finds it done.
        return read_images(
            body, content_type, model.manifest.preprocessing, settings.max_images, settings.max_pixels
        )

    patience = None if ask.deadline_seconds is None else answer_seconds(ask.deadline_seconds)
    try:
        async with asyncio.timeout(patience):  # No image has an answer before all are here.
            body = await receive_body(request, settings.max_body_bytes, settings.body_timeout_seconds)
            images = await service.pool.run(lambda: prepare(body))
    except TimeoutError as error:
        raise DeadlineError(TOO_LATE) from error
    return model.submit(images.pixels, ask, received_at=received_at), images.listed


async def _answers(work: Work, receive: Receive) -> Sequence[Answer]:
    """Wait for the answers, or for the caller to hang up: then the rows are dropped.

    Raises:
        ClientDisconnect: nobody waits any more.
    """
    answers = asyncio.wrap_future(work.future)
    hung_up = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait((answers, hung_up), return_when=asyncio.FIRST_COMPLETED)
        if not answers.done():
            raise ClientDisconnect
        if answers.cancelled():
            raise ClosedError("the request was dropped before it was answered")
        result: Sequence[Answer] = answers.result()
        return result
    finally:
        hung_up.cancel()
        if not answers.done():
            # Only the model may end its future: cancelling ours would cancel it behind the worker's back.
            answers.add_done_callback(_forget)
            work.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _forget(answers: asyncio.Future[Any]) -> None:
    """Look at a result nobody wants, so that asyncio does not report it as forgotten."""
    with suppress(asyncio.CancelledError):
        answers.exception()


def _as_json(answer: Answer) -> dict[str, Any]:
    body = {
        "class_name": answer.class_name,
        "class_index": answer.class_index,
        "confidence": answer.confidence,
        "exit": answer.exit,
        "flops": answer.flops,
        "budget_flops": answer.budget_flops,
        "model": answer.model,
    }
    return body if answer.deadline_met is None else body | {"deadline_met": answer.deadline_met}
