"""From an image to the uint8 [H, W, 3] array that a bundle's first segment takes.

Serving decodes requests with it; training sends validation, test and calibration images through the same
code, so that thresholds are fitted on the pixels that will really be served. Normalising is not done here: it
is part of the first segment's graph.

Decided here, once:

- PNG, JPEG and WebP are read; the format is read from the bytes, and a content type that says otherwise is
  refused. Animations are refused; of a phone's multi-picture JPEG the primary picture is read.
- A picture is whole, or it is refused; metadata beside the pixels refuse nothing.
- The EXIF orientation is applied; colour profiles are ignored.
- Transparency is composited over white, as a page shows it.
- 16-bit channels keep their high byte.
- A JPEG whose shorter side is at least four times the target is decoded at a fraction of its size
  (libjpeg's scaled decoding), never below twice the target; smaller ones are decoded whole. A bundle may ask
  for less: never below the target itself (`Preprocessing.decode`).
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving.errors import ImageError, ImageSizeError, ImageTypeError
from serving.images.jpeg import open_jpeg
from serving.images.png import open_png
from serving.images.preprocessing import Preprocessing
from serving.images.signatures import kind_of
from serving.images.still import Still
from serving.images.webp import open_webp

CONTENT_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
REGISTERED = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
"""Types by the other names that some clients give them."""
UNTYPED = ("", "application/octet-stream")

_LONGEST_SIDE = 65_535  # of a JPEG; scaling a line of 25 million pixels takes twice the memory of a square
_OPENERS: dict[str, Callable[[bytes], Still]] = {"PNG": open_png, "JPEG": open_jpeg, "WEBP": open_webp}

_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(
    data: bytes, spec: Preprocessing, max_pixels: int, content_type: str | None = None
) -> npt.NDArray[np.uint8]:
    """Decode one PNG, JPEG or WebP image.

    Args:
        data: the encoded image.
        spec: what the model takes.
        max_pixels: the largest width x height, read from the header before anything is decoded.
        content_type: what the sender calls it, without parameters; None or `application/octet-stream`
            leaves it to the bytes.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ImageTypeError: not one of the three formats, or not the one `content_type` names.
        ImageSizeError: more than `max_pixels`, or a side over 65,535.
        ImageError: empty, truncated, broken, or animated.
    """
    return to_array(open_image(data, max_pixels, content_type), spec)


def open_image(data: bytes, max_pixels: int, content_type: str | None = None) -> Still:
    """Read the header of one PNG, JPEG or WebP image, and hold it against what is served.

    Args:
        data: the encoded image.
        max_pixels: as for `decode`.
        content_type: as for `decode`.

    Raises:
        ImageTypeError, ImageSizeError, ImageError: as `decode`, but for what only its pixels show.
    """
    image_format = sniff(data)
    declared = (content_type or "").lower()
    declared = REGISTERED.get(declared, declared)
    if declared not in UNTYPED and declared != CONTENT_TYPES[image_format]:
        raise ImageTypeError(
            f"sent as {declared}, but the bytes are {CONTENT_TYPES[image_format]}: correct the content type, "
            "or send application/octet-stream to have the bytes decide"
        )
    still = _OPENERS[image_format](data)
    width, height = still.size
    if width * height > max_pixels:
        raise ImageSizeError(
            f"expected at most {max_pixels:,} pixels, found {width}x{height}: send it smaller"
        )
    if max(width, height) > _LONGEST_SIDE:
        raise ImageSizeError(
            f"expected sides of at most {_LONGEST_SIDE:,} pixels, found {width}x{height}: send it smaller"
        )
    if still.frames > 1:
        raise ImageError(f"expected a still image, found {still.frames} frames: send one frame at a time")
    return still


def open_still(data: bytes) -> Still:
    """Read the header of one PNG, JPEG or WebP image; of an animation, its first frame is decoded.

    Raises:
        ImageTypeError: none of the three formats.
        ImageError: empty, truncated or broken.
    """
    return _OPENERS[sniff(data)](data)


def to_array(still: Still, spec: Preprocessing) -> npt.NDArray[np.uint8]:
    """Decode, rotate, resize and crop an image as `spec` says.

    Args:
        still: an image whose header was read.
        spec: what the model takes.

    Returns:
        uint8 [H, W, 3], contiguous and writable.

    Raises:
        ImageError: the pixels are not all there.
    """
    return np.array(fit(upright_rgb(still, spec.decoded_side), spec))


def upright_rgb(still: Still, shorter_side: int | None = None) -> Image.Image:
    """Decode an image and turn it as its orientation says; training crops what comes back at random.

    Args:
        still: an image whose header was read.
        shorter_side: pixels below which the shorter side need not be decoded; None decodes it whole.

    Raises:
        ImageError: the pixels are not all there.
    """
    image = still.decode(shorter_side)
    transposition = _TRANSPOSITIONS.get(still.orientation)
    return image if transposition is None else image.transpose(transposition)


def sniff(data: bytes) -> Literal["PNG", "JPEG", "WEBP"]:
    """Tell the format from the first bytes.

    Raises:
        ImageError: there are no bytes.
        ImageTypeError: none of the three formats starts like this.
    """
    if not data:
        raise ImageError("expected an image, found an empty body")
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    found = kind_of(data) or "bytes that start like none of them"
    raise ImageTypeError(f"expected a PNG, JPEG or WebP image, found {found}")


def fit(image: Image.Image, spec: Preprocessing) -> Image.Image:
    """Resize and crop in one step: only the pixels of the crop are ever computed.

    Scaling a 1 x 100,000 image before cropping it would need gigabytes; resampling the crop's own region
    gives the same pixels, up to where the centre is rounded.
    """
    size, filter_ = (spec.width, spec.height), Image.Resampling[spec.filter.upper()]
    shorter = min(image.size)
    if image.size == size and spec.resize in (None, shorter):
        return image
    if spec.resize is None:
        return image.resize(size, filter_)
    if shorter == spec.resize:
        left, top = (image.width - spec.width) // 2, (image.height - spec.height) // 2
        return image.crop((left, top, left + spec.width, top + spec.height))
    width, height = spec.width * shorter / spec.resize, spec.height * shorter / spec.resize
    left_edge, top_edge = (image.width - width) / 2, (image.height - height) / 2
    return image.resize(size, filter_, box=(left_edge, top_edge, left_edge + width, top_edge + height))
