"""Turns an input tensor into images, a part of it at each step: between two parts others take their turn."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from types import MappingProxyType

import msgspec
import numpy as np
import numpy.typing as npt

from serving.errors import ImageError, OfframpError, RequestError
from serving.images.preprocessing import Preprocessing
from serving.web.oip.request import InputTensor, JsonData
from serving.web.oip.signature import ENCODED, PIXELS
from serving.web.reading.images import EncodedReader, ReadLimits, from_base64

Pixels = npt.NDArray[np.uint8]

_STEP_BYTES = 256 * 1024  # of JSON numbers: a few milliseconds
_NOT_NUMBERS = b"0123456789, \t\r\n[]"
_BRACKETS = b"[] \t\r\n"
_LENGTH_BYTES = 4


class TensorReader:
    """Reads images from a tensor.

    Args:
        tensor: uint8 [N, H, W, 3] at the model's size, or `BYTES` [N] of encoded images (over HTTP in JSON:
            base64).
        spec: what the model takes.
        limits: what is too much.

    Raises:
        ImageError: another datatype or shape.
    """

    def __init__(self, tensor: InputTensor, spec: Preprocessing, limits: ReadLimits) -> None:
        self._images = _image_count(tensor, spec, limits.images)
        self._steps = (
            _encoded(tensor, self._images, spec, limits)
            if tensor.datatype == ENCODED
            else _pixels(tensor, (self._images, spec.height, spec.width, 3))
        )

    failures: Mapping[int, OfframpError] = MappingProxyType({})
    """None: where an image cannot be read, the request fails whole."""

    def step(self) -> Pixels | None:
        """Do the next part of the work.

        Returns:
            All images, uint8 [N, H, W, 3], once the last one is there; None before.

        Raises:
            ImageError, RequestError: elements that do not fit the shape, or that cannot be read.
        """
        return next(self._steps)


def _image_count(tensor: InputTensor, spec: Preprocessing, most: int) -> int:
    """Hold datatype and shape against what the model takes; return N."""
    expected = f"{PIXELS} [N, {spec.height}, {spec.width}, 3] or {ENCODED} [N]"
    shape = tuple(tensor.shape)
    fits = {
        PIXELS: len(shape) == 4 and shape[1:] == (spec.height, spec.width, 3),
        ENCODED: len(shape) == 1 or (len(shape) == 2 and shape[1] == 1),
    }
    if not fits.get(tensor.datatype, False):
        raise ImageError(f"expected {expected}, found {tensor.datatype[:60]} {list(shape)}")
    if not 1 <= shape[0] <= most:
        raise ImageError(f"expected 1 to {most} images, found {shape[0]}")
    return shape[0]


def _pixels(tensor: InputTensor, shape: Sequence[int]) -> Iterator[Pixels | None]:
    expected, contents = prod(shape), tensor.contents
    if isinstance(contents, JsonData):
        yield from _numbers(contents.text, expected, shape)
    elif isinstance(contents, (bytes, memoryview)):
        _check_count(expected, len(contents), "bytes")
        yield np.frombuffer(contents, np.uint8).reshape(shape)
    else:
        _check_count(expected, len(contents), "numbers")
        numbers = np.fromiter(contents, np.int64, count=expected)
        yield _as_bytes(numbers).reshape(shape)


def _numbers(text: bytes | memoryview, expected: int, shape: Sequence[int]) -> Iterator[Pixels | None]:
    """Read whole numbers from a JSON list, in parts; how deep it is nested says nothing beside the shape."""
    flat = bytes(text).translate(None, _BRACKETS)
    if flat.translate(None, _NOT_NUMBERS):
        raise ImageError("expected whole numbers from 0 to 255 as data, found something else")
    _check_count(expected, flat.count(b",") + 1, "numbers")
    pixels, place, start = np.empty(expected, np.uint8), 0, 0
    while start < len(flat):
        end = flat.find(b",", start + _STEP_BYTES)
        end = len(flat) if end < 0 else end
        try:
            part = np.fromstring(flat[start:end].decode(), np.int64, sep=",")
        except ValueError as error:
            raise ImageError(f"the shape asks for {expected} numbers, found gaps between them") from error
        pixels[place : place + len(part)] = _as_bytes(part)
        place, start = place + len(part), end + 1
        if start < len(flat):
            yield None
    _check_count(expected, place, "numbers")
    yield pixels.reshape(shape)


def _as_bytes(numbers: npt.NDArray[np.int64]) -> Pixels:
    if numbers.size and not 0 <= numbers.min() <= numbers.max() <= 255:
        raise ImageError(
            f"expected numbers from 0 to 255, found some from {numbers.min()} to {numbers.max()}"
        )
    return numbers.astype(np.uint8)


def _check_count(expected: int, found: int, what: str) -> None:
    if found != expected:
        raise ImageError(f"the shape asks for {expected} {what}, found {found}")


def _encoded(
    tensor: InputTensor, images: int, spec: Preprocessing, limits: ReadLimits
) -> Iterator[Pixels | None]:
    reader = EncodedReader(_split(tensor, images), spec, limits)
    yield None
    while (pixels := reader.step()) is None:
        yield None
    yield pixels


def _split(tensor: InputTensor, images: int) -> list[bytes]:
    """Return the encoded images."""
    contents = tensor.contents
    if isinstance(contents, JsonData):
        found = _from_json(contents.text, images, nested=len(tensor.shape) == 2)
    elif isinstance(contents, (bytes, memoryview)):
        found = _from_raw(contents, images)
    else:
        found = [bytes(part) for part in contents if isinstance(part, (bytes, memoryview))]
    _check_count(images, len(found), "images")
    return found


def _from_json(text: bytes | memoryview, images: int, *, nested: bool) -> list[bytes]:
    if bytes(text).count(b'"') > 2 * images:
        raise ImageError(f"the shape asks for {images} images, found more strings than that")
    try:
        texts = (
            [row for rows in msgspec.json.decode(text, type=list[list[str]]) for row in rows]
            if nested
            else msgspec.json.decode(text, type=list[str])
        )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"expected a list of base64 strings as data: {error}") from error
    found = []
    for index, image in enumerate(texts):
        try:
            found.append(from_base64(image))
        except ImageError as error:
            raise type(error)(f"images[{index}]: {error}") from error
    return found


def _from_raw(contents: bytes | memoryview, images: int) -> list[bytes]:
    """Split raw `BYTES`: each element behind its length, four bytes, little-endian."""
    found: list[bytes] = []
    place, view = 0, memoryview(contents)
    while place < len(view) and len(found) <= images:
        size = int.from_bytes(view[place : place + _LENGTH_BYTES], "little")
        place += _LENGTH_BYTES
        if place + size > len(view):
            raise ImageError(
                f"images[{len(found)}]: its length says {size} bytes, found {max(0, len(view) - place)}"
            )
        found.append(bytes(view[place : place + size]))
        place += size
    return found
