"""Small picture files that the tests make themselves, sound and broken."""

import re
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from tests.serving.images.reference_png import CHANNELS, PASSES

SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = b"\0\0\0\0IEND\xaeB\x60\x82"


def chunk(name: bytes, body: bytes, *, checksum: int = 0) -> bytes:
    """A PNG chunk; a `checksum` other than 0 spoils the right one."""
    crc = zlib.crc32(name + body) ^ checksum
    return len(body).to_bytes(4, "big") + name + body + crc.to_bytes(4, "big")


def header(width: int, height: int, depth: int, colour: int, interlaced: int = 0) -> bytes:
    body = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((depth, colour, 0, 0, interlaced))
    return chunk(b"IHDR", body)


def png(
    width: int,
    height: int,
    depth: int,
    colour: int,
    rows: bytes,
    *before: bytes,
    interlaced: int = 0,
    after: bytes = b"",
) -> bytes:
    """A PNG of filtered rows, with chunks before and after its pixels."""
    start = SIGNATURE + header(width, height, depth, colour, interlaced) + b"".join(before)
    return start + chunk(b"IDAT", zlib.compress(rows)) + after + END


def row_lengths(width: int, height: int, depth: int, colour: int, interlaced: int) -> list[int]:
    """The bytes of each filtered row, its filter's number among them."""
    lengths = []
    for x, y, across, down in PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - x) // across), -(-(height - y) // down)
        if columns > 0:
            lengths += [1 + (columns * depth * CHANNELS[colour] + 7) // 8] * max(0, rows)
    return lengths


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """Random pixels, uint8 RGB."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Random colours that blend into each other."""
    coarse = noise(max(2, width // 9), max(2, height // 9), seed)
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def exif(orientation: int) -> bytes:
    """EXIF that holds an orientation."""
    data = Image.Exif()
    data[ExifTags.Base.Orientation] = orientation
    return data.tobytes()


def array(image: Image.Image) -> npt.NDArray[np.uint8]:
    return np.asarray(image)


def by_pillow(data: bytes) -> npt.NDArray[np.uint8]:
    """What Pillow alone makes of a file, over white."""
    with Image.open(BytesIO(data)) as image:
        if not image.has_transparency_data:
            return np.asarray(image.convert("RGB"))
        coloured = image.convert("RGBA")
        page = Image.new("RGBA", coloured.size, "white")
        return np.asarray(Image.alpha_composite(page, coloured).convert("RGB"))


def refused(error: Exception) -> None:
    """Hold a refusal's text against what it may never show: an address of the server's memory."""
    assert re.search("0x[0-9a-f]{4}|object at", str(error)) is None


def same(first: npt.NDArray[np.uint8] | None, second: npt.NDArray[np.uint8] | None) -> bool:
    """Tell whether both are pixels, and the same ones."""
    return first is not None and second is not None and np.array_equal(first, second)
