"""From an image to the uint8 [H, W, 3] array that a bundle's first segment takes.

Serving decodes requests with it; training sends validation, test and calibration images through the same
code, so that thresholds are fitted on the pixels that will really be served. Normalising is not done here: it
is part of the first segment's graph.

What is decided here, once:

- PNG, JPEG and WebP are read; the format is told by the bytes, and a content type that says otherwise is
  refused. Animations are refused; of a phone's multi-picture JPEG the primary picture is read.
- The EXIF orientation is applied; colour profiles are ignored, as `Image.convert` does.
- Transparency is composited over white, as a page shows it.
- 16-bit channels keep their high byte.
- A JPEG whose shorter side is at least four times the target is decoded at a fraction of its size
  (libjpeg's scaled decoding), never below twice the target; smaller ones are decoded whole.
"""

from io import BytesIO
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from serving.errors import ImageError, ImageSizeError, ImageTypeError
from serving.images.plain_png import open_plain
from serving.images.preprocessing import Preprocessing

CONTENT_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
UNTYPED = ("", "application/octet-stream")

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
        ImageSizeError: more than `max_pixels`.
        ImageError: empty, truncated, broken, or animated.
    """
    image_format = sniff(data)
    declared = (content_type or "").lower()
    if declared not in UNTYPED and declared != CONTENT_TYPES[image_format]:
        raise ImageTypeError(
            f"sent as {declared}, but the bytes are {CONTENT_TYPES[image_format]}: correct the content type, "
            "or send application/octet-stream to have the bytes decide"
        )
    if image_format == "PNG" and spec.resize is None and spec.width * spec.height <= max_pixels:
        plain = open_plain(data, (spec.width, spec.height))
        if plain is not None:
            return np.array(plain)
    if image_format == "WEBP":
        # Pillow's WebP plugin allocates the canvas on opening, before we could ask for the size.
        _check_pixels(_webp_size(data), max_pixels)
    try:
        with Image.open(BytesIO(data), formats=(image_format,)) as image:
            _check_pixels(image.size, max_pixels)
            frames = getattr(image, "n_frames", 1)
            if frames > 1 and image.format != "MPO":
                raise ImageError(f"expected a still image, found {frames} frames: send one frame at a time")
            return to_array(image, spec)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        # Pillow's own limit lies above any that makes sense here; its message would name a number nobody set.
        raise ImageSizeError(
            f"expected at most {max_pixels:,} pixels, found far more in the header: send it smaller"
        ) from error
    except Exception as error:  # Pillow's parsers raise whatever broken bytes make them trip over.
        raise ImageError(f"the {image_format} image is truncated or broken: {error}") from error


def to_array(image: Image.Image, spec: Preprocessing) -> npt.NDArray[np.uint8]:
    """Rotate, convert, resize and crop an opened image as `spec` says.

    Args:
        image: any Pillow image; one not yet loaded may be decoded at a reduced size.
        spec: what the model takes.

    Returns:
        uint8 [H, W, 3], contiguous and writable.
    """
    target = spec.resize or max(spec.height, spec.width)
    image.draft(None, (2 * target, 2 * target))
    return np.array(_fit(upright_rgb(image), spec))


def upright_rgb(image: Image.Image) -> Image.Image:
    """Decode an opened image, rotate it as its EXIF data say and convert it to RGB, at its own size.

    Args:
        image: any Pillow image; training crops what comes back at random.
    """
    image.load()
    transposition = _TRANSPOSITIONS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    if transposition is not None:
        image = image.transpose(transposition)
    return _to_rgb(image)


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
    raise ImageTypeError("expected a PNG, JPEG or WebP image, found bytes that start like none of them")


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageSizeError(
            f"expected at most {max_pixels:,} pixels, found {width}x{height}: send it smaller"
        )


def _webp_size(data: bytes) -> tuple[int, int]:
    """Read a WebP canvas size, in pixels, from its first chunk (RFC 9649, sections 2.5 to 2.7)."""
    chunk, header = data[12:16], data[:30]
    if chunk == b"VP8X" and len(header) == 30:
        return int.from_bytes(header[24:27], "little") + 1, int.from_bytes(header[27:30], "little") + 1
    if chunk == b"VP8 " and len(header) == 30:
        width, height = int.from_bytes(header[26:28], "little"), int.from_bytes(header[28:30], "little")
        return width & 0x3FFF, height & 0x3FFF
    if chunk == b"VP8L" and len(header) >= 25:
        bits = int.from_bytes(header[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise ImageError("the WEBP image is truncated or broken: no size in its header")


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert any Pillow mode to RGB: 16 bits keep the high byte, transparency goes over white."""
    if image.mode.startswith("I"):  # "I;16" and "I": Pillow's own conversion would clip at 255.
        high_byte = np.clip(np.asarray(image, dtype=np.int64) >> 8, 0, 255).astype(np.uint8)
        return Image.fromarray(high_byte).convert("RGB")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        page = Image.new("RGBA", coloured.size, "white")
        return Image.alpha_composite(page, coloured).convert("RGB")
    return image.convert("RGB")


def _fit(image: Image.Image, spec: Preprocessing) -> Image.Image:
    """Resize and crop in one step: only the pixels of the crop are ever computed.

    Scaling a 1 x 100,000 image before cropping it would need gigabytes; resampling the crop's own region
    gives the same pixels, up to where the centre is rounded.
    """
    size, filter_ = (spec.width, spec.height), Image.Resampling[spec.filter.upper()]
    if spec.resize is None:
        return image if image.size == size else image.resize(size, filter_)
    shorter = min(image.size)
    if shorter == spec.resize:
        left, top = (image.width - spec.width) // 2, (image.height - spec.height) // 2
        return image.crop((left, top, left + spec.width, top + spec.height))
    width, height = spec.width * shorter / spec.resize, spec.height * shorter / spec.resize
    left_edge, top_edge = (image.width - width) / 2, (image.height - height) / 2
    return image.resize(size, filter_, box=(left_edge, top_edge, left_edge + width, top_edge + height))
