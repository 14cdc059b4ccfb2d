"""`POST /v2/models/{m}/infer`: a body in, an answer out, within the limits of `POST /classify`."""

import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from serving.errors import ImageTypeError, OfframpError
from serving.events import RequestRefused
from serving.repository.live import Version
from serving.web.classify import Classify
from serving.web.connection.caller import WatchedConnection, caller_of
from serving.web.oip.infer import INLINE_BYTES, Infer, Inference
from serving.web.oip.json_request import LENGTH_HEADER, json_length, read_request
from serving.web.oip.json_response import response_of
from serving.web.oip.parameters import NAMES
from serving.web.oip.repository import lease
from serving.web.oip.request import InferRequest
from serving.web.reading.body import body_headers
from serving.web.reading.images import JSON_TYPE, media_type
from serving.web.reading.query import read_query
from serving.web.served import ServedModel
from serving.web.service import Service

BODY_TYPES = ("", JSON_TYPE, "application/octet-stream", "application/x-www-form-urlencoded")
"""Content types that a body may have. Clients send none, or what their HTTP library sends by itself: what is
in a body the protocol says, not its type."""


class HttpInfer:
    """Answers inference requests over HTTP.

    Args:
        service: models, settings and threads.
        classify: the path that images take.
        infer: answers what was read.
    """

    def __init__(self, service: Service, classify: Classify, infer: Infer) -> None:
        self._service, self._classify, self._infer = service, classify, infer

    async def __call__(self, name: str, version: str, request: Request) -> Response:
        """Answer one request.

        Args:
            name: of the model.
            version: of it; empty where the request names none.
            request: what was sent.

        Raises:
            OfframpError: it is refused, or fails.
            ClientDisconnect: the caller has gone.
        """
        try:
            request_id = request.scope.get("state", {}).get("request_id")
            with lease(self._service, name, version, request_id) as found:
                answer = await self._start(found, request)
        except OfframpError as error:
            self._service.emit(RequestRefused(type(error).__name__))
            raise
        return response_of(answer())

    async def _start(self, found: Version[ServedModel], request: Request) -> Callable[[], Inference]:
        received_at, scope, service = time.monotonic(), request.scope, self._service
        query = read_query(scope["query_string"], *NAMES)
        headers, caller = body_headers(scope), caller_of(scope)
        if media_type(headers.content_type) not in BODY_TYPES:
            raise ImageTypeError(
                f"expected a Content-Type of {JSON_TYPE} or application/octet-stream, found "
                f"{headers.content_type[:60]!r}"
            )
        service.refuse_if_stalled(found.model)
        with service.bodies.share() as share:
            body = await self._classify.body(headers, request.receive, caller, None, share)
            scope.setdefault("state", {})["received_bytes"] = len(body)
            read = await self._read(body, request.headers.get(LENGTH_HEADER))
            del body
            waiting = caller or WatchedConnection(request.receive)
            try:
                priority = scope["state"].get("priority")
                return await self._infer.start(
                    found, read, waiting, received_at, query, priority, scope["state"].get("request_id")
                )
            finally:
                if isinstance(waiting, WatchedConnection):
                    waiting.close()

    async def _read(self, body: bytes, header: str | None) -> InferRequest:
        json_bytes, most_images = json_length(header, len(body)), self._service.read_limits.images
        if json_bytes <= INLINE_BYTES:
            return read_request(body, json_bytes, most_images)
        return await self._service.pool.run(lambda: read_request(body, json_bytes, most_images))
