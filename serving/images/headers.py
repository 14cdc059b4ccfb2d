"""The cost of decoding an image, read from its structure before anything is decoded.

A few bytes can ask for hours of work: a PNG of a hundred kilobytes for gigabytes of pixels, a progressive
JPEG for thousands of passes over all of them, either for millions of empty parts that a parser takes in turn.
"""

from serving.errors import ImageError

MAX_PARTS = 20_000
"""The most chunks of a PNG, or segments before a JPEG's pixels. Encoders write a chunk for some kilobytes."""
MAX_SCANS = 100
"""The most passes of a progressive JPEG. Encoders write about ten."""

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_START_OF_SCAN = b"\xff\xda"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a length


def pixel_count(data: bytes) -> int:
    """Return width x height as the header of a PNG, JPEG or WebP says; 0 where it says nothing.

    Damage is left for the decoder to name. However long the bytes, no more than MAX_PARTS are looked at.

    Raises:
        ImageError: more parts, or more passes, than any encoder writes.
    """
    if data.startswith(_PNG):
        return _png(data)
    if data.startswith(_JPEG):
        return _jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    return 0


def _png(data: bytes) -> int:
    start = 8
    for _ in range(MAX_PARTS):
        if start + 8 > len(data) or data[start + 4 : start + 8] == b"IEND":
            return int.from_bytes(data[16:20], "big") * int.from_bytes(data[20:24], "big")
        start += 12 + int.from_bytes(data[start : start + 4], "big")
    raise ImageError(f"expected a PNG of at most {MAX_PARTS:,} chunks, found more")


def _jpeg(data: bytes) -> int:
    # Within a scan's own data 0xff is never followed by 0xda; a thumbnail or two may count as well.
    if (scans := data.count(_START_OF_SCAN)) > MAX_SCANS:
        raise ImageError(f"expected a JPEG of at most {MAX_SCANS} scans, found {scans:,}")
    place = 2
    for _ in range(MAX_PARTS):
        marker = data[place : place + 2]
        if len(marker) < 2 or marker[0] != 0xFF or marker == _START_OF_SCAN:
            return 0
        if marker[1] in _FRAMES:
            size = data[place + 5 : place + 9]
            return int.from_bytes(size[:2], "big") * int.from_bytes(size[2:], "big")
        if marker[1] == 0xFF:  # a fill byte
            place += 1
        elif marker[1] in _ALONE:
            place += 2
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    raise ImageError(f"expected a JPEG of at most {MAX_PARTS:,} segments before its pixels, found more")


def _webp(data: bytes) -> int:
    """Read the canvas size from the first chunk (RFC 9649, sections 2.5 to 2.7)."""
    chunk = data[12:16]
    if chunk == b"VP8X":
        return (int.from_bytes(data[24:27], "little") + 1) * (int.from_bytes(data[27:30], "little") + 1)
    if chunk == b"VP8 ":
        width, height = int.from_bytes(data[26:28], "little"), int.from_bytes(data[28:30], "little")
        return (width & 0x3FFF) * (height & 0x3FFF)
    if chunk == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return ((bits & 0x3FFF) + 1) * ((bits >> 14 & 0x3FFF) + 1)
    return 0
