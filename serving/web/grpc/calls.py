"""The steps of every call: a name, a key, an error in gRPC's words, a count and a line in the log."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import grpc
from starlette.requests import ClientDisconnect
from structlog.typing import FilteringBoundLogger

from serving.errors import OfframpError
from serving.options import Priority
from serving.telemetry.tracing import Ended
from serving.web.access.control import Access
from serving.web.access.limits import ALLOWANCE
from serving.web.access.request_ids import ECHOED, HEADER, RequestIds
from serving.web.grpc.closing import Closing
from serving.web.grpc.metrics import GrpcMetrics
from serving.web.grpc.status import code_of, details_of
from serving.web.service import Service

_MAX_ECHOED = 128
_SERVER_FAILED = ("INTERNAL", "UNKNOWN", "UNAVAILABLE")

PRIORITY: ContextVar[Priority | None] = ContextVar("priority", default=None)
"""The class of the key that the call under way came with; None where it needs none."""

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The server's own id of the call under way, where it has one request."""

Method = Callable[[Any, Any], Awaitable[Any]]
"""A request, and gRPC's context, to a response."""


class Calls:
    """Wraps the methods of a servicer; streams end when `closing` is set, between two requests.

    Args:
        service: its settings say whether calls are logged.
        access: whose keys count.
        ids: names requests.
        metrics: count calls.
        logger: gets what clients are not to see.
        access_logger: gets a line for each call, where the settings say so.
        closing: set when the server stops.
    """

    def __init__(
        self,
        service: Service,
        access: Access,
        ids: RequestIds,
        metrics: GrpcMetrics,
        logger: FilteringBoundLogger,
        access_logger: FilteringBoundLogger,
        closing: Closing,
    ) -> None:
        self._service, self._access, self._ids, self._metrics = service, access, ids, metrics
        self._logger, self._access_logger = logger, access_logger
        self.closing = closing

    def unary(self, name: str, method: Method, *, open_to_all: bool = False) -> Method:
        """Wrap a method that answers one request with one response.

        Args:
            name: of the method.
            method: answers.
            open_to_all: whether it asks for no key.
        """

        async def wrapped(request: Any, context: Any) -> Any:
            async with self._call(name, context, open_to_all=open_to_all) as request_id:
                REQUEST_ID.set(request_id)
                self.count()
                return await method(request, context)

        return wrapped

    def stream(self, name: str, answer: Callable[[Any], Awaitable[Any]]) -> Callable[[Any, Any], Any]:
        """Wrap a method that answers each request of a stream with a response, in their order."""

        async def wrapped(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            async with self._call(name, context, open_to_all=False):
                while (request := await self.closing.unless(anext(requests, None))) is not None:
                    yield await answer(request)

        return wrapped

    @staticmethod
    def count() -> None:
        """Count a request, or one of a stream, among those of its key.

        Raises:
            KeyLimitError: there have been too many.
        """
        if (allowance := ALLOWANCE.get()) is not None:
            allowance.take_request()

    def told(self, error: OfframpError) -> str:
        """Return the text of an error for its caller; private parts go to the log."""
        if error.status >= 500:
            self._logger.error("request_failed", error=type(error).__name__, reason=str(error))
        return details_of(error)[0]

    @asynccontextmanager
    async def _call(self, name: str, context: Any, *, open_to_all: bool) -> AsyncIterator[str]:
        started, code, key = time.perf_counter(), grpc.StatusCode.OK, None
        metadata = dict(context.invocation_metadata() or ())
        request_id = self._ids.make()
        trailing = [(HEADER.decode(), request_id)]
        if 0 < len(callers := str(metadata.get(ECHOED.decode(), ""))) <= _MAX_ECHOED:
            trailing.append((ECHOED.decode(), callers))
        context.set_trailing_metadata(tuple(trailing))
        with self._span(name, metadata) as ended:
            try:
                if self._access.keys is not None and not open_to_all:
                    key = self._access.keys.find(str(metadata.get("authorization", "")))
                    if key is None:
                        code = grpc.StatusCode.UNAUTHENTICATED
                        text = "expected a key of this server as metadata: authorization: Bearer KEY"
                        await context.abort(code, text, tuple(trailing))
                    else:
                        ALLOWANCE.set(key.allowance)
                        PRIORITY.set(key.priority)
                yield request_id
            except OfframpError as error:
                code, text = code_of(error), self.told(error)
                await context.abort(code, text, (*trailing, *details_of(error)[1]))
            except (asyncio.CancelledError, ClientDisconnect):
                code = grpc.StatusCode.CANCELLED
                raise
            except grpc.aio.AbortError:
                raise
            except Exception:
                code = grpc.StatusCode.INTERNAL
                self._logger.exception("request_failed", method=name)
                await context.abort(code, "the server failed; its log says why", tuple(trailing))
            finally:
                seconds = time.perf_counter() - started
                self._metrics.requests.labels(name, code.name).inc()
                self._metrics.seconds.labels(name).observe(seconds)
                ended(name, {"rpc.grpc.status_code": code.name}, code.name in _SERVER_FAILED)
                if self._service.settings.access_log:
                    self._access_logger.info(
                        "answered",
                        id=request_id,
                        client=context.peer(),
                        method=name,
                        code=code.name,
                        seconds=round(seconds, 6),
                        **({} if key is None else {"key": key.name}),
                    )

    def _span(self, name: str, metadata: Mapping[str, Any]) -> AbstractContextManager[Ended]:
        """Open the span of a call, where somebody gathers spans."""
        tracing = self._service.tracing
        if tracing is None:
            return nullcontext(lambda name, attributes, failed: None)
        headers = {key: value for key, value in metadata.items() if isinstance(value, str)}
        return tracing.request(name, headers, {"rpc.system": "grpc", "rpc.method": name})
