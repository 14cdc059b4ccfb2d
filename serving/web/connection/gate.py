"""The outermost layer of the app: lets requests in, names, counts and logs them, lets go while draining."""

import asyncio
import time
from collections.abc import Callable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from serving.web.access.control import Access
from serving.web.access.keys import Key
from serving.web.access.request_ids import ECHOED, HEADER, RequestIds, echoed
from serving.web.problems import CLIENT_GONE, problem
from serving.web.service import Service

_VERSION = b"offramp-model-version"
_NOSNIFF = (b"x-content-type-options", b"nosniff")


class ServerMiddleware:
    """ASGI middleware around the whole app.

    Args:
        app: what is inside.
        service: the source of metrics, and of whether the server drains.
        logger: where the access log goes.
        shortcuts: apps by method and path that are asked in place of `app`.
        access: who may ask what.
        ids: names requests; `scope["state"]["request_id"]` has the name.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        app: ASGIApp,
        service: Service,
        logger: FilteringBoundLogger,
        shortcuts: Mapping[tuple[str, str], ASGIApp],
        access: Access,
        ids: RequestIds,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._app = app
        self._service = service
        self._logger = logger
        self._shortcuts = shortcuts
        self._access = access
        self._ids = ids
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        tracing = self._service.tracing
        if tracing is None:
            await self._handle(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        method, path = scope["method"], scope["path"]
        attributes = {"http.request.method": method, "url.path": path}
        with tracing.request(method, headers, attributes) as ended:
            status, route = await self._handle(scope, receive, send, tracing.exemplar)
            ended(
                f"{method} {route}", {"http.response.status_code": status, "http.route": route}, status >= 500
            )

    async def _handle(
        self, scope: Scope, receive: Receive, send: Send, exemplar: dict[str, str] | None = None
    ) -> tuple[int, str]:
        """Handle one HTTP request; return the status of its answer, and the template of its path."""
        start, status, sent_bytes = self._clock(), 0, 0
        request_id = self._ids.make()
        scope.setdefault("state", {})["request_id"] = request_id
        answer, key = self._access.check(scope)
        if key is not None:
            scope["state"]["priority"] = key.priority
        shortcut = None if answer else self._shortcuts.get((scope["method"], scope["path"]))

        async def watched(message: Message) -> None:
            nonlocal status, sent_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *self._headers(scope, request_id)]
            else:
                sent_bytes += len(message.get("body", b""))
            await send(message)

        try:
            await (answer or shortcut or self._app)(scope, receive, watched)
        except asyncio.CancelledError:
            if not self._service.draining:
                raise
            if not status:
                # The time to finish is over; uvicorn would answer 500.
                stopped = problem(503, "the server stopped before it could answer", "not serving")
                await stopped(scope, receive, watched)
        finally:
            route = scope["path"] if shortcut else getattr(scope.get("route"), "path", "unmatched")
            seconds = self._clock() - start
            self._service.metrics.answered(route, status or 500, seconds, exemplar)
            if self._service.settings.access_log:
                self._log(scope, request_id, key, status or 500, sent_bytes, seconds)
        return status or 500, route

    def _headers(self, scope: Scope, request_id: str) -> list[tuple[bytes, bytes]]:
        headers = [_NOSNIFF, (HEADER, request_id.encode())]
        if (callers := echoed(scope)) is not None:
            headers.append((ECHOED, callers))
        if (version := scope["state"].get("model_version")) is not None:
            headers.append((_VERSION, version.encode()))
        if self._service.draining:
            headers.append((b"connection", b"close"))
        return headers

    def _log(
        self, scope: Scope, request_id: str, key: Key | None, status: int, sent_bytes: int, seconds: float
    ) -> None:
        client = scope.get("client")
        self._logger.info(
            "abandoned" if status == CLIENT_GONE else "answered",
            id=request_id,
            client=client[0] if client else None,
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            status=status,
            received_bytes=scope["state"].get("received_bytes", 0),
            sent_bytes=sent_bytes,
            seconds=round(seconds, 6),
            **({} if key is None else {"key": key.name}),
        )
