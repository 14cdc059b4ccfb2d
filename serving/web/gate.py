"""The outermost layer of the app: counts and logs every answer, and lets go of connections while draining."""

import asyncio
import time
from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from serving.web.problems import CLIENT_GONE, problem
from serving.web.service import Service


class ServerMiddleware:
    """ASGI middleware around the whole app.

    Args:
        app: what is inside.
        service: whose metrics count, and which knows whether it drains.
        logger: where the access log goes.
        shortcuts: apps by method and path that are asked in place of `app`.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        app: ASGIApp,
        service: Service,
        logger: FilteringBoundLogger,
        shortcuts: Mapping[tuple[str, str], ASGIApp],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._app = app
        self._service = service
        self._logger = logger
        self._shortcuts = shortcuts
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = self._clock(), 0
        shortcut = self._shortcuts.get((scope["method"], scope["path"]))

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._service.draining:
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        try:
            await (shortcut or self._app)(scope, receive, watched)
        except asyncio.CancelledError:
            if status or not self._service.draining:
                raise
            # The time to finish is over; uvicorn would answer 500.
            await problem(503, "the server stopped before it could answer", "not serving")(
                scope, receive, watched
            )
        finally:
            route = scope["path"] if shortcut else getattr(scope.get("route"), "path", "unmatched")
            self._count(scope, route, status or 500, self._clock() - start)

    def _count(self, scope: Scope, route: str, status: int, seconds: float) -> None:
        self._service.metrics.answered(route, status, seconds)
        if self._service.settings.access_log:
            request = Request(scope)
            self._logger.info(
                "abandoned" if status == CLIENT_GONE else "answered",
                method=request.method,
                path=request.url.path,
                query=request.url.query,
                status=status,
                seconds=round(seconds, 6),
            )
