"""Receives a request's body within limits of size and time, and turns it into images."""

import asyncio
import base64
import binascii
import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from serving.errors import BodyTimeoutError, BodyTooLargeError, ImageError, ImageTypeError, RequestError
from serving.images.decode import CONTENT_TYPES, UNTYPED, decode
from serving.images.npy import decode_npy
from serving.images.preprocessing import Preprocessing

JSON_TYPE, NPY_TYPE = "application/json", "application/x-npy"

_BODY_HEADERS = {
    b"content-type": "content_type",
    b"content-length": "content_length",
    b"content-encoding": "content_encoding",
}


@dataclass(frozen=True)
class Images:
    """The images of a body: uint8 [N, H, W, 3], and whether the caller sent (and expects) a list."""

    pixels: npt.NDArray[np.uint8]
    listed: bool


@dataclass(frozen=True)
class BodyHeaders:
    """What a request's headers say of its body; an absent one is empty."""

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
    headers: BodyHeaders, receive: Receive, max_bytes: int, timeout_seconds: float | None
) -> bytes:
    """Read the whole body, refusing it as early as possible.

    Args:
        headers: what they say of it.
        receive: ASGI's.
        max_bytes: the most it may have.
        timeout_seconds: how long it may take to arrive; None where it is there already.

    Raises:
        BodyTooLargeError: over `max_bytes`, by its Content-Length or while it arrives.
        BodyTimeoutError: not complete after `timeout_seconds`.
        ImageTypeError: a compressed body.
        ClientDisconnect: the caller hung up in the middle of it.
    """
    coding = headers.content_encoding or "identity"
    if coding.lower() != "identity":
        raise ImageTypeError(f"expected a body without Content-Encoding, found {coding!r}: send it plain")
    declared = headers.content_length
    if declared.isdecimal() and int(declared[:20]) > max_bytes:
        raise _too_large(max_bytes)
    chunks: list[bytes] = []
    if timeout_seconds is None:
        await _read_into(chunks, receive, max_bytes)
    else:
        try:
            async with asyncio.timeout(timeout_seconds):
                await _read_into(chunks, receive, max_bytes)
        except TimeoutError as error:
            found = sum(map(len, chunks))
            raise BodyTimeoutError(
                f"expected the whole body within {timeout_seconds:g} s, found {found} bytes by then"
            ) from error
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _read_into(chunks: list[bytes], receive: Receive, max_bytes: int) -> None:
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(max_bytes)
        chunks.append(chunk)
        more = message.get("more_body", False)


def _too_large(max_bytes: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"expected a body of at most {max_bytes} bytes: send fewer or smaller images")


def read_images(
    body: bytes, content_type: str, spec: Preprocessing, max_images: int, max_pixels: int
) -> Images:
    """Decode a body by its content type.

    Args:
        body: one encoded image, JSON `{"images": [base64, ...]}`, or an `.npy` array.
        content_type: the header, parameters and all; without one, or as `application/octet-stream`, the body
            is one image whose bytes tell its format.
        spec: what the model takes.
        max_images: the most images in one body.
        max_pixels: the most pixels in one image.

    Raises:
        ImageTypeError: another content type, or an image that is not what it says.
        ImageError: an image that cannot be read; in a list it is named by its index, and the request fails
            whole.
        RequestError: JSON that is not, or not of that form.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == NPY_TYPE:
        return Images(decode_npy(body, spec, max_images), listed=True)
    if media_type == JSON_TYPE:
        return Images(_decode_json(body, spec, max_images, max_pixels), listed=True)
    if media_type in UNTYPED or media_type in CONTENT_TYPES.values():
        return Images(decode(body, spec, max_pixels, media_type)[np.newaxis], listed=False)
    expected = ", ".join((*CONTENT_TYPES.values(), "application/octet-stream", JSON_TYPE, NPY_TYPE))
    raise ImageTypeError(
        f"expected a Content-Type of {expected}; found {media_type[:60]!r} "
        "(with curl: -H 'Content-Type: image/png')"
    )


def _decode_json(body: bytes, spec: Preprocessing, max_images: int, max_pixels: int) -> npt.NDArray[np.uint8]:
    """Decode `{"images": [base64, ...]}` to uint8 [N, H, W, 3]."""
    form = '{"images": ["<base64>", ...]}'
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(
            f"expected JSON of the form {form}, found a body that is not JSON: {error}"
        ) from error
    if (
        not isinstance(document, dict)
        or set(document) != {"images"}
        or not isinstance(document["images"], list)
    ):
        raise RequestError(f"expected JSON of the form {form} and nothing else in it")
    images = document["images"]
    if not 1 <= len(images) <= max_images:
        raise ImageError(f"expected 1 to {max_images} images, found {len(images)}")
    decoded = []
    for index, image in enumerate(images):
        try:
            decoded.append(decode(_from_base64(image), spec, max_pixels))
        except ImageError as error:
            raise type(error)(f"images[{index}]: {error}") from error
    return np.stack(decoded)


def _from_base64(text: object) -> bytes:
    if not isinstance(text, str):
        raise ImageError(f"expected a base64 string, found {type(text).__name__}")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"expected base64 (RFC 4648, no prefix, no line breaks): {error}") from error
