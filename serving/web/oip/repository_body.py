"""The bodies of `POST /v2/repository/...`: small JSON documents, or nothing."""

from typing import TypeVar

import msgspec
from starlette.requests import Request

from serving.errors import RequestError
from serving.web.reading.body import body_headers, receive_body
from serving.web.service import Service

_MAX_BYTES = 4096
DocumentT = TypeVar("DocumentT", bound=msgspec.Struct)


class IndexDocument(msgspec.Struct, forbid_unknown_fields=True):
    """Whether only the models that can be asked are to be listed."""

    ready: bool = False


class ChangeDocument(msgspec.Struct, forbid_unknown_fields=True):
    """Parameters of a change."""

    parameters: dict[str, bool | int | float | str] = {}


class SplitDocument(msgspec.Struct, forbid_unknown_fields=True):
    """A version, and the share of requests that is for it."""

    version: str
    share: float


class VersionDocument(msgspec.Struct, forbid_unknown_fields=True):
    """A version."""

    version: str


async def read_document(
    request: Request, service: Service, kind: type[DocumentT], expected: str
) -> DocumentT:
    """Read a body; nothing stands for a document without members.

    Args:
        request: whose.
        service: gives the limits.
        kind: of the document.
        expected: describes it, for the message.

    Raises:
        RequestError: a body of another form.
        OfframpError, ClientDisconnect: as `receive_body`.
    """
    return _decoded(await _body(request, service) or b"{}", kind, expected)


async def read_any(
    request: Request, service: Service, kind: type[DocumentT], expected: str
) -> DocumentT | None:
    """Read a body where there is one, as `read_document` does; None where there is none."""
    body = await _body(request, service)
    return _decoded(body, kind, expected) if body else None


async def _body(request: Request, service: Service) -> bytes:
    timeout_seconds = service.settings.body_timeout_seconds
    with service.bodies.share() as share:
        body = await receive_body(
            body_headers(request.scope), request.receive, _MAX_BYTES, timeout_seconds, share
        )
    return body if body.strip() else b""


def _decoded(body: bytes, kind: type[DocumentT], expected: str) -> DocumentT:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"expected {expected}: {error}") from error
