"""Decodes JPEG: whole or not at all.

libjpeg fills up a scan that ends early with grey and says so in a warning, which Pillow drops. simplejpeg
brings the same libjpeg-turbo with the same pixels, and its warnings. It stops at the first of them, so the
harmless ones are kept from it (see `jpeg_segments`); the few files that it cannot judge go to Pillow and are
judged here.
"""

import re
from dataclasses import replace
from functools import partial
from io import BytesIO

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from serving.images.jpeg_segments import JpegParts, read_parts
from serving.images.orientation import orientation
from serving.images.still import Still, broken

Pixels = npt.NDArray[np.uint8]

# Bytes left over behind a scan, and chroma that is subsampled in a way without a name.
_CANNOT_JUDGE = re.compile(r"extraneous bytes|subsampling level")
# simplejpeg is given a size, and below this one it may find a smaller scale of the same size.
_SMALLEST_REDUCED = 16
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_FILLER = np.random.default_rng(0).integers(0, 255, 64, dtype=np.uint8).tobytes()  # 255 begins a marker


def open_jpeg(data: bytes) -> Still:
    """Read a JPEG's segments.

    Of a file of several pictures (MPO) this is the primary one.

    Args:
        data: bytes that start with a JPEG's start mark.

    Raises:
        ImageError: truncated, broken, or of a process that is not read.
    """
    parts = read_parts(data)
    return Still(parts.size, orientation(parts.exif, parts.xmp), 1, partial(_decode, parts))


def _decode(parts: JpegParts, shorter_side: int | None) -> Image.Image:
    scale = 1
    if shorter_side is not None and min(parts.size) >= _SMALLEST_REDUCED and not parts.lossless:
        ratio = min(parts.size) // shorter_side
        scale = next((scale for scale in (8, 4, 2) if ratio >= scale), 1)
    try:
        return _by_simplejpeg(parts, scale)
    except ValueError as error:
        if _CANNOT_JUDGE.search(str(error)):
            return _by_pillow(parts, scale)
        raise broken("JPEG", f"{error}") from error


def _by_simplejpeg(parts: JpegParts, scale: int) -> Image.Image:
    """Decode at 1/scale of the size.

    Raises:
        ValueError: libjpeg has an error or a warning.
    """
    width, height = parts.size
    pixels: Pixels = simplejpeg.decode_jpeg(
        parts.stream(),
        colorspace="CMYK" if parts.components == 4 else "RGB",
        min_width=-(-width // scale),
        min_height=-(-height // scale),
        min_factor=scale,
    )
    if parts.components == 4:  # Stored inverted, as Adobe does.
        return Image.frombytes("CMYK", pixels.shape[1::-1], pixels.tobytes(), "raw", "CMYK;I").convert("RGB")
    return Image.fromarray(pixels)


def _by_pillow(parts: JpegParts, scale: int) -> Image.Image:
    """Decode at 1/scale of the size, and once more with bytes after each scan.

    A decoder that has what it needs does not look at them; one that has not takes them for pixels.

    Raises:
        ImageError: libjpeg has an error, or the two differ.
    """
    image = _pillow(parts.stream(), scale)
    filled = replace(parts, scans=tuple((tables, _filled(codes)) for tables, codes in parts.scans))
    if image.tobytes() != _pillow(filled.stream(), scale).tobytes():
        raise broken("JPEG", "a scan ends before its pixels do")
    return image.convert("RGB")


def _filled(codes: bytes) -> bytes:
    """Put bytes behind each stretch between restarts, and one stretch more behind the last."""
    restarts = _RESTART.findall(codes)
    following = 0xD0 + (restarts[-1][1] + 1) % 8 if restarts else 0xD0
    return _RESTART.sub(_FILLER + rb"\g<0>", codes) + _FILLER + bytes([0xFF, following]) + _FILLER


def _pillow(data: bytes, scale: int) -> Image.Image:
    try:
        with Image.open(BytesIO(data), formats=("JPEG",)) as image:
            image.draft(None, (max(1, image.width // scale), max(1, image.height // scale)))
            image.load()
            return image
    except MemoryError:
        raise
    except Exception as error:  # Reasons of several types, some with addresses in them.
        raise broken("JPEG", "its pixels cannot be decoded") from error
