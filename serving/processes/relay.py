"""Requests that another process answers: images those of the children, all else the parent."""

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from serving.errors import OfframpError
from serving.processes.link import Link
from serving.settings import Settings
from serving.web.problems import problem_of
from serving.web.reading.body import body_headers, receive_body
from serving.web.reading.byte_budget import ByteBudget

ANSWER = "http"
"""The handler of a process that answers relayed requests."""

_IMAGES = re.compile(r"/classify|/v2/models/[^/]+(/versions/[^/]+)?/infer")
_PASSED_ON = (
    *("type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string"),
    *("root_path", "headers", "client", "server"),
)
_STATE = ("request_id", "priority")


@dataclass(frozen=True)
class Answered:
    """A whole response.

    Attributes:
        status: of HTTP.
        headers: without those that the process with the connection adds.
        body: all of it.
        route: the template of the path that it was found at; None where there was none.
        version: of the model that answered, where the caller is told.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    route: str | None
    version: str | None


def brings_images(scope: Scope) -> bool:
    """Whether a request is for a process that computes."""
    return scope["method"] == "POST" and _IMAGES.fullmatch(scope["path"]) is not None


class Relay:
    """An ASGI app that answers some requests itself and has another process answer the others.

    Args:
        app: answers here.
        elsewhere: whether a request is for another process.
        choose: the link to it.
        settings: the limits of size and time for a body that is passed on.
        bodies: counts what all of them hold.
        logger: gets what clients are not to see.
    """

    def __init__(
        self,
        app: ASGIApp,
        elsewhere: Callable[[Scope], bool],
        choose: Callable[[], Link],
        settings: Settings,
        bodies: ByteBudget,
        logger: FilteringBoundLogger,
    ) -> None:
        self._app, self._elsewhere, self._choose = app, elsewhere, choose
        self._settings, self._bodies, self._logger = settings, bodies, logger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] != "http" or not self._elsewhere(scope):
            await self._app(scope, receive, send)
            return
        settings = self._settings
        try:
            with self._bodies.share() as share:
                body = await receive_body(
                    body_headers(scope),
                    receive,
                    settings.max_body_bytes,
                    settings.body_timeout_seconds,
                    share,
                )
                passed = {name: scope[name] for name in _PASSED_ON if name in scope}
                passed["state"] = {name: scope["state"].get(name) for name in _STATE}
                answered = await asyncio.wrap_future(self._choose().call(ANSWER, passed, body))
        except (OfframpError, ClientDisconnect) as error:
            await problem_of(error, self._logger)(scope, receive, send)
            return
        scope["state"]["received_bytes"] = len(body)
        if answered.route is not None:
            scope["route"] = SimpleNamespace(path=answered.route)
        if answered.version is not None:
            scope["state"]["model_version"] = answered.version
        await send({"type": "http.response.start", "status": answered.status, "headers": answered.headers})
        await send({"type": "http.response.body", "body": answered.body})


def answering(
    app: "Future[ASGIApp]", loop: "Future[asyncio.AbstractEventLoop]"
) -> Callable[..., "Future[Answered]"]:
    """Return the handler that answers what another process passes on; it waits until there is what it needs.

    Args:
        app: answers.
        loop: where.
    """

    def answer(scope: dict[str, Any], body: bytes) -> "Future[Answered]":
        return asyncio.run_coroutine_threadsafe(_answer(app.result(), scope, body), loop.result())

    return answer


async def _answer(app: ASGIApp, scope: dict[str, Any], body: bytes) -> Answered:
    """Run an app on a whole request, and gather its response."""
    messages: list[Message] = []
    unread = [body]
    never = asyncio.get_running_loop().create_future()

    async def receive() -> Message:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        await never  # the caller's process says nothing of one who hangs up
        raise ClientDisconnect

    async def send(message: Message) -> None:
        messages.append(message)

    try:
        await app(scope, receive, send)
    except Exception:
        if not messages:
            raise
    finally:
        never.cancel()
    start, *rest = messages
    parts = b"".join(message.get("body", b"") for message in rest)
    route = getattr(scope.get("route"), "path", None)
    version = scope["state"].get("model_version")
    return Answered(start["status"], list(start["headers"]), parts, route, version)
