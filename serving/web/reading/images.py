"""Turns a request's body into images, one at a time: between two of them others take their turn."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from serving.errors import ImageError, ImageSizeError, ImageTypeError, RequestError
from serving.images.arrays import image_shape
from serving.images.decode import CONTENT_TYPES, REGISTERED, UNTYPED, open_image, to_array
from serving.images.npy import decode_npy
from serving.images.preprocessing import Preprocessing
from serving.images.still import Still
from serving.web.reading.form import FORM_TYPE, FormReader

JSON_TYPE, NPY_TYPE = "application/json", "application/x-npy"
MEDIA_TYPES = (*CONTENT_TYPES.values(), "application/octet-stream", JSON_TYPE, NPY_TYPE, FORM_TYPE)

_FORM = '{"images": ["<base64>", ...]}'
_SHOWN_CHARACTERS = 60
_STRINGS_COUNTED = 1000

QUICK_BYTES, QUICK_PIXELS = 32 * 1024, 96 * 96
"""An image of no more bytes and pixels decodes in a quarter of a millisecond, whatever its format: an event
loop may be kept for so long (`benchmarks.speed.decode_place` measures it)."""
_METADATA = re.compile(rb"eXIf|Exif|EXIF|iTXt|zTXt|ns\.adobe\.com|XMP ")
"""They may be compressed, and far larger than they look."""
_NO_STRING = re.compile(r"Expected `str`, got `(?P<found>\w+)` - at `\$\.images\[(?P<index>\d+)\]`")

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ReadLimits:
    """Limits of one request.

    Args:
        images: how many.
        pixels: of one image, before it is scaled.
        request_pixels: of all its images together.
    """

    images: int
    pixels: int
    request_pixels: int


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    images: list[str]


_DOCUMENT = msgspec.json.Decoder(_Document)


class BodyReader:
    """Decodes a body by its content type, an image at each step.

    Args:
        body: one encoded image, JSON `{"images": [base64, ...]}`, an `.npy` array, or a form with files.
        content_type: the header, parameters and all; without one, or as `application/octet-stream`, the body
            is one image whose bytes tell its format.
        spec: what the model takes.
        limits: what is too much.

        item_errors: whether an image of a JSON list that cannot be read is left out, and named in
            `failures`.

    Attributes:
        listed: whether the caller sent, and expects, a list.
    """

    def __init__(
        self,
        body: bytes,
        content_type: str,
        spec: Preprocessing,
        limits: ReadLimits,
        *,
        item_errors: bool = False,
    ) -> None:
        self._item_errors = item_errors
        self._body, self._spec, self._limits = body, spec, limits
        self._media_type = media_type(content_type)
        self.listed = self._media_type in (JSON_TYPE, NPY_TYPE)
        self._list: EncodedReader | None = None
        self._content_type = content_type
        self._form: FormReader | None = None
        self._still: Still | None = None

    @property
    def quick(self) -> bool:
        """Whether it is one image that takes no longer to decode than an event loop may be kept.

        Raises:
            ImageTypeError, ImageSizeError, ImageError: as `step`, of one image of few bytes.
        """
        spec = self._spec
        side = max(spec.resize or 0, spec.height, spec.width)
        if (
            self._media_type in (JSON_TYPE, NPY_TYPE, FORM_TYPE)
            or len(self._body) > QUICK_BYTES
            or side * side > QUICK_PIXELS
            or _METADATA.search(self._body)
        ):
            return False
        self._still = self._open_one()
        width, height = self._still.size
        return width * height <= QUICK_PIXELS

    @property
    def failures(self) -> Mapping[int, ImageError]:
        """Why images were left out, by their index in the list."""
        return {} if self._list is None else self._list.failures

    def step(self) -> Pixels | None:
        """Do the next part of the work.

        Returns:
            All images, uint8 [N, H, W, 3], once the last one is decoded; None before.

        Raises:
            ImageTypeError: another content type, or an image that is not what it says.
            ImageSizeError: too many pixels, in an image or in all.
            ImageError: an image that cannot be read; in a list it is named by its index, and the request
                fails whole.
            RequestError: JSON that is not, or not of that form.
        """
        if self._media_type == NPY_TYPE:
            return decode_npy(self._taken(), self._spec, self._limits.images)
        if self._list is None and self._media_type == FORM_TYPE:
            self._read_form()
            return None
        if self._list is None and self._media_type != JSON_TYPE:
            return self._decode_one()[np.newaxis]
        if self._list is None:
            texts = _listed(self._taken(), self._limits)
            self._list = EncodedReader(texts, self._spec, self._limits, item_errors=self._item_errors)
            return None
        return self._list.step()

    def _read_form(self) -> None:
        """Take the next part of a form; once it has ended its files are a list."""
        if self._form is None:
            self._form = FormReader(self._taken(), self._content_type, self._limits.images)
        if self._form.step():
            return
        form, self._form = self._form, None
        self.listed = form.listed
        item_errors = self._item_errors and form.listed
        self._list = EncodedReader(
            form.files, self._spec, self._limits, types=form.types, item_errors=item_errors
        )

    def _decode_one(self) -> Pixels:
        still, self._still = self._still or self._open_one(), None
        return to_array(still, self._spec)

    def _open_one(self) -> Still:
        """Read the header of the one image."""
        if self._media_type not in UNTYPED and self._media_type not in CONTENT_TYPES.values():
            raise ImageTypeError(
                f"expected a Content-Type of {', '.join(MEDIA_TYPES)}; "
                f"found {self._media_type[:_SHOWN_CHARACTERS]!r} (with curl: -H 'Content-Type: image/png')"
            )
        return open_image(self._taken(), self._limits.pixels, self._media_type)

    def _taken(self) -> bytes:
        """Return the body, and let go of it."""
        body, self._body = self._body, b""
        return body


class EncodedReader:
    """Decodes a list of encoded images, one at each step, having read the headers of all.

    Args:
        encoded: the images, as bytes or as text in base64.
        spec: what the model takes.
        limits: what is too much.
        types: what the sender calls them, where it says so (see `serving.images.decode.decode`).
        item_errors: whether an image that cannot be read is left out, and named in `failures`.

    Attributes:
        failures: why images were left out, by their index.

    Raises:
        ImageSizeError: too many pixels, in one image or in all.
        ImageError: no base64, or an image that cannot be read; named by its index.
    """

    def __init__(
        self,
        encoded: Sequence[bytes | str],
        spec: Preprocessing,
        limits: ReadLimits,
        *,
        types: Sequence[str] = (),
        item_errors: bool = False,
    ) -> None:
        self.failures: dict[int, ImageError] = {}
        self._spec, self._item_errors = spec, item_errors
        self._opened: list[Still | None] = []
        self._decoded: list[Pixels] = []
        self._place = pixels = 0
        for index, image in enumerate(encoded):
            still = None
            try:
                found = from_base64(image) if isinstance(image, str) else image
                still = open_image(found, limits.pixels, types[index] if types else None)
                pixels += still.size[0] * still.size[1]
            except ImageError as error:
                self._failed(index, error)
            self._opened.append(still)
        if pixels > limits.request_pixels:
            raise ImageSizeError(
                f"expected at most {limits.request_pixels:,} pixels in one request, found {pixels:,}: "
                "send the images in several requests, or smaller"
            )

    def step(self) -> Pixels | None:
        """Decode the next image.

        Returns:
            All that could be read, uint8 [N, H, W, 3], once the last one is decoded; None before.

        Raises:
            ImageError: it cannot be read, or is too large; named by its index.
        """
        index, self._place = self._place, self._place + 1
        still, self._opened[index] = self._opened[index], None
        if still is not None:
            try:
                self._decoded.append(to_array(still, self._spec))
            except ImageError as error:
                self._failed(index, error)
        if self._place < len(self._opened):
            return None
        decoded, self._decoded = self._decoded, []
        return np.stack(decoded) if decoded else np.empty((0, *image_shape(self._spec)), np.uint8)

    def _failed(self, index: int, error: ImageError) -> None:
        named = type(error)(f"images[{index}]: {error}")
        if not self._item_errors:
            raise named from error
        self.failures[index] = named


def media_type(content_type: str) -> str:
    """Return the type in a Content-Type header, in lower case, without its parameters.

    Names that are not registered, but in use, give the registered one.

    >>> media_type(" Image/PNG ; charset=utf-8")
    'image/png'
    >>> media_type("image/jpg")
    'image/jpeg'
    """
    named = content_type.partition(";")[0].strip().lower()
    return REGISTERED.get(named, named)


def _listed(body: bytes, limits: ReadLimits) -> list[str]:
    """Return the images of a JSON body, in base64."""
    # Two quotation marks for the name, two for each image: very many more of them are not worth parsing.
    if body.count(b'"') > 2 * (limits.images + _STRINGS_COUNTED):
        raise ImageError(f"expected 1 to {limits.images} images, found far more strings than that")
    try:
        texts = _DOCUMENT.decode(body).images
    except msgspec.ValidationError as error:
        if match := _NO_STRING.fullmatch(str(error)):
            raise ImageError(
                f"images[{match['index']}]: expected a base64 string, found {match['found']}"
            ) from error
        raise RequestError(f"expected JSON of the form {_FORM} and nothing else in it: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(
            f"expected JSON of the form {_FORM}, found a body that is not JSON: {error}"
        ) from error
    if not 1 <= len(texts) <= limits.images:
        raise ImageError(f"expected 1 to {limits.images} images, found {len(texts)}")
    return texts


def from_base64(text: str) -> bytes:
    """Return the bytes of an image in base64.

    Raises:
        ImageError: it is none.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"expected base64 (RFC 4648, no prefix, no line breaks): {error}") from error
