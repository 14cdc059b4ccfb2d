"""Errors as problem+json (RFC 9457): ours, the framework's, and unexpected ones."""

import json
import math
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match
from structlog.typing import FilteringBoundLogger

from serving.errors import BodyTimeoutError, OfframpError, OverloadedError

MEDIA_TYPE = "application/problem+json"
_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
_SERVER_ERRORS = {
    500: "the engine failed on a batch that this request was part of; the server's log says why",
    503: "the model takes no more requests: it is shutting down, or its worker died (see /v2/health/ready)",
}
"""Said instead of an error's own text, which may quote the engine or the machine; that goes to the log."""
CLIENT_GONE = 499
"""The status under which an abandoned request is counted; its caller has gone."""


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    error: str = Field(description="The same as `detail`, where the Open Inference Protocol looks for it.")


def problem(
    status: int, detail: str, title: str | None = None, headers: dict[str, str] | None = None
) -> Response:
    """Build a problem response.

    Args:
        status: the HTTP status.
        detail: what was expected and what was found.
        title: the kind of problem, which also makes its `type`; without one it is only the HTTP status.
        headers: further headers.
    """
    return Response(json.dumps(_document(status, detail, title)).encode(), status, headers, MEDIA_TYPE)


def problem_text(error: OfframpError) -> str:
    """Return an error of ours as the JSON of a problem, for a place in a list."""
    return json.dumps(_document(error.status, shown_text(error), error.title))


def _document(status: int, detail: str, title: str | None) -> dict[str, object]:
    return {
        "type": f"urn:offramp:problem:{title.replace(' ', '-')}" if title else "about:blank",
        "title": title or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "error": detail,
    }


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe problem responses for OpenAPI."""
    content = {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def problem_of(error: Exception, logger: FilteringBoundLogger) -> Response:
    """Build the response to an error of ours, to a caller that hung up, or to an unexpected one.

    Args:
        error: what was raised.
        logger: gets what clients are not to see.
    """
    if isinstance(error, ClientDisconnect):
        return Response(status_code=CLIENT_GONE)
    if not isinstance(error, OfframpError):
        return problem(500, "the server failed; its log says why")
    if error.status in _SERVER_ERRORS:
        logger.error("request_failed", error=type(error).__name__, reason=str(error))
    return refusal(error)


def refusal(error: OfframpError) -> Response:
    """Build the response to an error of ours, with the headers that go with it."""
    headers = {}
    if isinstance(error, OverloadedError):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_seconds)))
    if isinstance(error, BodyTimeoutError):
        headers["Connection"] = "close"  # The rest of the body is not worth waiting for.
    return problem(error.status, shown_text(error), error.title, headers)


def shown_text(error: OfframpError) -> str:
    """Return the text of an error for its client."""
    return _SERVER_ERRORS.get(error.status, str(error))


def _allowed(app: FastAPI, request: Request) -> list[str]:
    """Return the methods that any route allows at a request's path."""
    asked = ({**request.scope, "method": method} for method in _METHODS)
    return [
        str(scope["method"])
        for scope in asked
        if any(route.matches(scope)[0] == Match.FULL for route in app.routes)
    ]


def install(app: FastAPI, logger: FilteringBoundLogger) -> None:
    """Make every error of `app` a problem; `logger` gets what clients are not to see."""

    async def ours(_: Request, error: Exception) -> Response:
        return problem_of(error, logger)

    async def frameworks(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:  # the framework names those of one route
            headers["Allow"] = ", ".join(_allowed(app, request))
        known = {404: "there is nothing at this path: see /docs"}
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            known[405] = f"this path allows {headers.get('Allow', headers.get('allow', 'another method'))}"
        return problem(error.status_code, known.get(error.status_code, error.detail), headers=headers)

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        reasons = (f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors())
        return problem(422, "; ".join(reasons))

    app.add_exception_handler(OfframpError, ours)
    app.add_exception_handler(HTTPException, frameworks)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(ClientDisconnect, ours)
    app.add_exception_handler(Exception, ours)
