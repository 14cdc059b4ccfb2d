"""Receives a request's body within limits of size and time."""

import asyncio
from dataclasses import dataclass

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from serving.errors import BodyTimeoutError, BodyTooLargeError, ImageTypeError
from serving.web.reading.byte_budget import Share

_BODY_HEADERS = {
    b"content-type": "content_type",
    b"content-length": "content_length",
    b"content-encoding": "content_encoding",
}


@dataclass(frozen=True)
class BodyHeaders:
    """The headers of a request's body; an absent one is empty."""

    content_type: str = ""
    content_length: str = ""
    content_encoding: str = ""


def body_headers(scope: Scope) -> BodyHeaders:
    """Read the headers that concern the body; of one that comes twice the first counts."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        if name in _BODY_HEADERS:
            found.setdefault(_BODY_HEADERS[name], value.decode("latin-1"))
    return BodyHeaders(**found)


async def receive_body(
    headers: BodyHeaders, receive: Receive, max_bytes: int, timeout_seconds: float | None, share: Share
) -> bytes:
    """Read the whole body, refusing it as early as possible.

    Args:
        headers: what they say of it.
        receive: ASGI's.
        max_bytes: the most it may have.
        timeout_seconds: how long it may take to arrive; None where it is there already.
        share: of what all requests may hold.

    Raises:
        OverloadedError: all requests together would hold too many bytes.
        BodyTooLargeError: over `max_bytes`, by its Content-Length or while it arrives.
        BodyTimeoutError: not complete after `timeout_seconds`.
        ImageTypeError: a compressed body.
        ClientDisconnect: the caller hung up in the middle of it.
    """
    coding = headers.content_encoding or "identity"
    if coding.lower() != "identity":
        raise ImageTypeError(
            f"expected a body without Content-Encoding, found {coding[:60]!r}: send it plain"
        )
    declared = headers.content_length
    if declared.isdecimal():
        if int(declared[:20]) > max_bytes:
            raise _too_large(max_bytes)
        share.foresee(int(declared))
    arrived = _Arrived()
    if timeout_seconds is None:
        await _read_into(arrived, receive, max_bytes, share)
    else:
        try:
            async with asyncio.timeout(timeout_seconds):
                await _read_into(arrived, receive, max_bytes, share)
        except TimeoutError as error:
            raise BodyTimeoutError(
                f"expected the whole body within {timeout_seconds:g} s, found {len(arrived)} bytes by then"
            ) from error
    return arrived.whole()


class _Arrived:
    """A body as far as it is there: one piece as it came, or several in one block that grows.

    Many pieces of a large body, each an object of its own, would leave memory in pieces behind.
    """

    def __init__(self) -> None:
        self._first = b""
        self._block: bytearray | None = None

    def __len__(self) -> int:
        return len(self._first) if self._block is None else len(self._block)

    def add(self, piece: bytes) -> None:
        if self._block is not None:
            self._block += piece
        elif self._first:
            self._block, self._first = bytearray(self._first), b""
            self._block += piece
        else:
            self._first = piece

    def whole(self) -> bytes:
        return self._first if self._block is None else bytes(self._block)


async def _read_into(arrived: _Arrived, receive: Receive, max_bytes: int, share: Share) -> None:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        if len(arrived) + len(chunk) > max_bytes:
            raise _too_large(max_bytes)
        share.add(len(chunk))
        arrived.add(chunk)
        more = message.get("more_body", False)


def _too_large(max_bytes: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"expected a body of at most {max_bytes} bytes: send fewer or smaller images")
