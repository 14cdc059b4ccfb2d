"""The short way for the plainest PNG: 8-bit RGB, not interlaced, with nothing in it but pixels.

Pillow's plugin for the format spends more time on looking for what is not there than its decoder spends on a
small image. Here the few bytes around the pixels are read by hand, and only where they hold no surprise; all
else, and all that is broken, is left to the plugin, which also knows what to say of it.
"""

from zlib import crc32

from PIL import Image

_HEADER = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"
_RGB_8_BIT = b"\x08\x02\x00\x00\x00"  # depth, colour type, compression, filter method, interlacing


def open_plain(data: bytes, size: tuple[int, int]) -> Image.Image | None:
    """Decode a PNG of that kind and size.

    Args:
        data: any bytes.
        size: the width and height it must have.

    Returns:
        The image in mode RGB; None if it is another image, or not a whole one.
    """
    width, height = size
    described = width.to_bytes(4, "big") + height.to_bytes(4, "big") + _RGB_8_BIT
    if not data.startswith(_HEADER + described) or not _is_intact(data, 8, 33):
        return None
    pixels = _pixels(data, 33)
    if pixels is None:
        return None
    try:
        return Image.frombytes("RGB", size, pixels, "zip", "RGB", 0)
    except Exception:  # whatever Pillow's decoder trips over
        return None


def _pixels(data: bytes, start: int) -> bytes | None:
    """Join the IDAT chunks, if there are no others up to the end."""
    parts: list[bytes] = []
    while True:
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        kind = data[start + 4 : start + 8]
        if kind not in (b"IDAT", b"IEND") or not _is_intact(data, start, end):
            return None
        if kind == b"IEND":
            return parts[0] if len(parts) == 1 else b"".join(parts)
        parts.append(data[start + 8 : end - 4])
        start = end


def _is_intact(data: bytes, start: int, end: int) -> bool:
    """Hold a chunk, from its length to its checksum, against the checksum."""
    return end <= len(data) and crc32(data[start + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")
