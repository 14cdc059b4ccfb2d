"""Takes a PNG file apart: what its pixels need is checked, what lies beside them can do no harm.

The rules of the third edition of the PNG specification (https://www.w3.org/TR/png-3/), as a strict decoder
reads them: a critical chunk (IHDR, PLTE, IDAT, IEND) must be whole, where it belongs, and match its checksum.
An ancillary chunk that is broken, out of place or of a wrong length is left out, as libpng does.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple
from zlib import crc32

from serving.images.still import MAX_PARTS, broken, too_many_parts

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6

_DEPTHS = {
    GREY: (1, 2, 4, 8, 16),
    COLOUR: (8, 16),
    PALETTE: (1, 2, 4, 8),
    GREY_ALPHA: (8, 16),
    COLOUR_ALPHA: (8, 16),
}
_CHANNELS = {GREY: 1, COLOUR: 3, PALETTE: 1, GREY_ALPHA: 2, COLOUR_ALPHA: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_LARGEST = 2**31 - 1
_MAX_TEXT_BYTES = 1 << 20
_IS_NAME = re.compile(rb"[A-Za-z]{4}").fullmatch


class Header(NamedTuple):
    """What IHDR says: width and height in pixels, bits a sample, colour type, interlaced (1) or not (0)."""

    width: int
    height: int
    depth: int
    colour: int
    interlaced: int

    def pixel_bytes(self) -> int:
        """Bytes of the filtered rows: what the pixels' stream must inflate to."""
        if not self.interlaced:
            return self._rows_bytes(self.width, self.height)
        return sum(
            self._rows_bytes(-(-(self.width - left) // across), -(-(self.height - top) // down))
            for left, top, across, down in _ADAM7
        )

    def _rows_bytes(self, width: int, height: int) -> int:
        if width <= 0 or height <= 0:
            return 0
        return height * (1 + (width * self.depth * _CHANNELS[self.colour] + 7) // 8)


@dataclass
class PngParts:
    """The parts of a PNG that matter to its pixels.

    Attributes:
        header: the checked IHDR.
        palette: red, green and blue of each entry; empty without one.
        transparency: the body of a tRNS chunk that fits the header; None without one.
        pixels: the compressed rows, in pieces.
        frames: how many pictures an animated one shows, 1 for a still.
        exif: EXIF data; None without.
        xmp: an XMP packet; None without.
    """

    header: Header
    palette: bytes = b""
    transparency: bytes | None = None
    pixels: list[bytes] = field(default_factory=list)
    frames: int = 1
    exif: bytes | None = None
    xmp: bytes | None = None


def read_parts(data: bytes) -> PngParts:
    """Take a PNG file apart.

    Args:
        data: bytes that start with the signature; what follows IEND is not looked at.

    Raises:
        ImageError: a critical chunk is missing, cut off, misplaced or damaged.
    """
    chunks = _chunks(data)
    kind, body, intact = next(chunks, (b"", b"", False))
    if kind != b"IHDR" or not intact:
        raise broken("PNG", "it does not begin with a sound IHDR chunk")
    parts = PngParts(_header(body))
    last, animation, first_frame = kind, 0, False
    for kind, body, intact in chunks:
        if not kind[0] & 0x20:
            _check_critical(kind, intact)
        late = bool(parts.pixels)
        if kind == b"IDAT" and (not late or last == b"IDAT"):  # A second run is no part of the picture.
            parts.pixels.append(body)
        elif kind == b"PLTE":
            _take_palette(parts, body, late=late)
        elif intact and kind == b"acTL" and not late and len(body) >= 8:
            animation = animation or int.from_bytes(body[:4], "big")
        elif intact:
            first_frame = first_frame or (kind == b"fcTL" and not late)
            _take_ancillary(parts, kind, body, late=late)
        last = kind
    if animation:
        parts.frames = animation + (not first_frame)
    return _complete(parts)


def _complete(parts: PngParts) -> PngParts:
    if not parts.pixels:
        raise broken("PNG", "it holds no pixels")
    if parts.header.colour == PALETTE and not parts.palette:
        raise broken("PNG", "it has no palette")
    return parts


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yield the name, the body and the soundness of each chunk before IEND, which must be there."""
    start = len(SIGNATURE)
    for _ in range(MAX_PARTS):
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if end > len(data):
            raise broken("PNG", "it ends before its last chunk does")
        kind = data[start + 4 : start + 8]
        if not _IS_NAME(kind):
            raise broken("PNG", "a chunk has no name")
        intact = crc32(data[start + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")
        if kind == b"IEND":
            _check_critical(kind, intact)
            return
        yield kind, data[start + 8 : end - 4], intact
        start = end
    raise too_many_parts("PNG")


def _check_critical(kind: bytes, intact: bool) -> None:
    name = kind.decode("ascii")
    if kind not in (b"PLTE", b"IDAT", b"IEND"):
        raise broken("PNG", f"it has a critical chunk {name} where none is expected")
    if not intact:
        raise broken("PNG", f"its {name} chunk does not match its checksum")


def _header(body: bytes) -> Header:
    if len(body) != 13:
        raise broken("PNG", f"expected an IHDR of 13 bytes, found {len(body)}")
    width, height = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
    depth, colour, compression, filtering, interlaced = body[8:]
    if not (1 <= width <= _LARGEST and 1 <= height <= _LARGEST):
        raise broken("PNG", f"expected at least one pixel, found {width}x{height}")
    if depth not in _DEPTHS.get(colour, ()):
        raise broken("PNG", f"no colour type {colour} has {depth} bits a sample")
    if compression or filtering or interlaced > 1:
        raise broken("PNG", "it names an unknown compression, filter or interlacing")
    return Header(width, height, depth, colour, interlaced)


def _take_palette(parts: PngParts, body: bytes, *, late: bool) -> None:
    if parts.header.colour != PALETTE:
        return  # A suggestion for displays of few colours.
    if parts.palette or late:
        raise broken("PNG", "it has a PLTE chunk where none is expected")
    entries = len(body) // 3
    if len(body) % 3 or not 1 <= entries <= 256:
        raise broken("PNG", f"expected a palette of 1 to 256 colours, found {len(body)} bytes")
    parts.palette = body[: 3 << parts.header.depth]


def _take_ancillary(parts: PngParts, kind: bytes, body: bytes, *, late: bool) -> None:
    if kind == b"tRNS" and parts.transparency is None and not late and _is_transparency(parts, body):
        parts.transparency = body
    elif kind == b"eXIf":
        parts.exif = parts.exif or body
    elif kind == b"iTXt" and body.startswith(b"XML:com.adobe.xmp\0"):
        parts.xmp = parts.xmp or _international_text(body)
    elif kind in (b"tEXt", b"zTXt") and body.startswith(b"Raw profile type exif\0"):
        parts.exif = parts.exif or _raw_profile(kind, body)


def _is_transparency(parts: PngParts, body: bytes) -> bool:
    colour = parts.header.colour
    if colour == PALETTE:
        return 1 <= len(body) <= len(parts.palette) // 3
    return len(body) == {GREY: 2, COLOUR: 6}.get(colour)


def _international_text(body: bytes) -> bytes | None:
    """The text of an iTXt chunk: keyword, flag, method, language, translated keyword, text."""
    rest = body.partition(b"\0")[2]
    compressed, fields = rest[:1] == b"\1", rest[2:].split(b"\0", 2)
    if len(fields) < 3:
        return None
    return _inflated(fields[2]) if compressed else fields[2]


def _raw_profile(kind: bytes, body: bytes) -> bytes | None:
    """EXIF as ImageMagick keeps it in a text: three lines of heading, then hexadecimal digits."""
    text = body.partition(b"\0")[2]
    if kind == b"zTXt":
        text = _inflated(text[1:]) or b""
    try:
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except ValueError:
        return None


def _inflated(compressed: bytes) -> bytes | None:
    """Inflate a text, if it can be and is not overly long."""
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(compressed, _MAX_TEXT_BYTES)
    except zlib.error:
        return None
    return text if stream.eof else None
