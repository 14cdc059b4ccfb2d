"""Errors as gRPC statuses: the same errors as over HTTP, in gRPC's words."""

import math
from collections.abc import Mapping

import grpc

from serving.errors import OfframpError, OverloadedError
from serving.web.problems import shown_text

_CODES: Mapping[int, grpc.StatusCode] = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_PUSHBACK = "grpc-retry-pushback-ms"
"""The name under which gRPC's own retries look for how long to wait."""

Metadata = tuple[tuple[str, str], ...]


def code_of(error: OfframpError) -> grpc.StatusCode:
    """Return the code of an error; what a client did wrong is INVALID_ARGUMENT if nothing fits better."""
    fallback = grpc.StatusCode.INVALID_ARGUMENT if error.status < 500 else grpc.StatusCode.INTERNAL
    return _CODES.get(error.status, fallback)


def details_of(error: OfframpError) -> tuple[str, Metadata]:
    """Return the text for a client, and the time of its next try."""
    trailing: Metadata = ()
    if isinstance(error, OverloadedError):
        trailing = ((_PUSHBACK, str(max(1, math.ceil(1000 * error.retry_after_seconds)))),)
    return shown_text(error), trailing
