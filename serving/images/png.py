"""Decodes PNG: every colour type and depth, whole or not at all.

The chunks are read here, and the pixels inflated here, because Pillow's plugin takes a stream that ends early
for a whole one, compares colour keys of 2, 4 and 16 bits with pixels of 8, lets broken metadata fail a sound
picture, and spends more time on looking for what is not there than its decoder spends on a small image. The
rows are unfiltered by Pillow's decoder.
"""

import zlib
from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving.images.orientation import orientation
from serving.images.png_chunks import COLOUR, GREY, PALETTE, Header, PngParts, read_parts
from serving.images.still import Still, broken, over_white

# Of 16 bits the high byte is kept.
_MODES = {
    (GREY, 1): ("1", "1"),
    (GREY, 2): ("L", "L;2"),
    (GREY, 4): ("L", "L;4"),
    (GREY, 8): ("L", "L"),
    (GREY, 16): ("L", "L;16B"),
    (COLOUR, 8): ("RGB", "RGB"),
    (COLOUR, 16): ("RGB", "RGB;16B"),
    (PALETTE, 1): ("P", "P;1"),
    (PALETTE, 2): ("P", "P;2"),
    (PALETTE, 4): ("P", "P;4"),
    (PALETTE, 8): ("P", "P"),
    (4, 8): ("LA", "LA"),
    (4, 16): ("RGBA", "LA;16B"),
    (6, 8): ("RGBA", "RGBA"),
    (6, 16): ("RGBA", "RGBA;16B"),
}
_LOW_BYTES = {GREY: ("L", "L;16"), COLOUR: ("RGB", "RGB;16L")}


def open_png(data: bytes) -> Still:
    """Read a PNG's chunks.

    Args:
        data: bytes that start with the signature.

    Raises:
        ImageError: truncated or broken.
    """
    parts = read_parts(data)
    size = parts.header.width, parts.header.height
    return Still(size, orientation(parts.exif, parts.xmp), parts.frames, partial(_decode, parts))


def _decode(parts: PngParts, shorter_side: int | None) -> Image.Image:
    rows = _inflate(parts)
    image = _unfilter(rows, parts.header, *_MODES[parts.header.colour, parts.header.depth])
    if parts.header.colour == PALETTE:
        return _look_up(image, parts)
    if parts.transparency is not None:
        return _without_key(image, rows, parts)
    if image.mode in ("LA", "RGBA"):
        return over_white(image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


def _inflate(parts: PngParts) -> bytes:
    """Inflate exactly the rows; bytes beyond them are let be, missing ones are not."""
    expected = parts.header.pixel_bytes()
    try:
        rows = zlib.decompressobj().decompress(b"".join(parts.pixels), expected)
    except zlib.error as error:
        raise broken("PNG", "its pixels cannot be inflated") from error
    if len(rows) < expected:
        raise broken("PNG", f"expected {expected:,} bytes of pixels, found {len(rows):,}")
    return rows


def _unfilter(rows: bytes, header: Header, mode: str, raw_mode: str) -> Image.Image:
    """Undo the filters of the rows, and the interlacing."""
    try:
        # Pillow's decoder inflates, too; stored bytes cost it nothing.
        return Image.frombytes(
            mode, (header.width, header.height), zlib.compress(rows, 0), "zip", raw_mode, header.interlaced
        )
    except MemoryError:
        raise
    except Exception as error:  # A filter that does not exist has no error of its own.
        raise broken("PNG", "a row names an unknown filter") from error


def _look_up(image: Image.Image, parts: PngParts) -> Image.Image:
    """Replace indices by colours over white; an index beyond the palette is black."""
    colours = np.zeros((256, 4), dtype=np.uint8)
    colours[:, 3] = 255
    palette = np.frombuffer(parts.palette, dtype=np.uint8).reshape(-1, 3)
    colours[: len(palette), :3] = palette
    alphas = np.frombuffer(parts.transparency or b"", dtype=np.uint8)
    colours[: len(alphas), 3] = alphas
    table: npt.NDArray[np.uint8] = np.asarray(over_white(Image.fromarray(colours[None])))[0]
    return Image.fromarray(table[np.asarray(image)])


def _without_key(image: Image.Image, rows: bytes, parts: PngParts) -> Image.Image:
    """Make the pixels of one colour white, compared at the depth that they are stored in."""
    header = parts.header
    key = np.frombuffer(parts.transparency or b"", dtype=">u2").astype(np.int64) & ((1 << header.depth) - 1)
    pixels = np.asarray(image.convert("L") if image.mode == "1" else image)
    if header.depth == 16:
        low = np.asarray(_unfilter(rows, header, *_LOW_BYTES[header.colour]))
        is_key = (pixels == key >> 8) & (low == (key & 255))
    else:
        is_key = pixels == (key * 255 // ((1 << header.depth) - 1) if header.colour == GREY else key)
    if header.colour == COLOUR:
        is_key = is_key.all(axis=-1)
    coloured = np.array(image.convert("RGB"))
    coloured[is_key] = 255
    return Image.fromarray(coloured)
