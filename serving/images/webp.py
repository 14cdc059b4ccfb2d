"""Decodes WebP: the chunks that hold pixels go to the decoder, what lies beside them does not."""

from functools import partial
from io import BytesIO

from PIL import Image

from serving.images.orientation import orientation
from serving.images.still import MAX_PARTS, Still, broken, over_white, too_many_parts

_PIXELS = (b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L")
_ANIMATED, _ALPHA = 0x02, 0x10


def open_webp(data: bytes) -> Still:
    """Read a WebP's container (RFC 9649, section 2).

    Args:
        data: bytes that start with `RIFF` and name `WEBP`.

    Raises:
        ImageError: truncated or broken.
    """
    chunks = _chunks(data)
    metadata = dict(reversed(chunks))  # Of two of a kind the first counts.
    pixels = [(kind, body) for kind, body in chunks if kind in _PIXELS]
    size = _size(pixels)
    frames = sum(kind == b"ANMF" for kind, _ in pixels)
    turned = orientation(metadata.get(b"EXIF"), metadata.get(b"XMP "))
    return Still(size, turned, max(1, frames), partial(_decode, _container(pixels)))


def _decode(data: bytes, shorter_side: int | None) -> Image.Image:
    try:
        with Image.open(BytesIO(data), formats=("WEBP",)) as image:
            image.load()
            return over_white(image.convert("RGBA")) if image.has_transparency_data else image.convert("RGB")
    except MemoryError:
        raise
    except Exception as error:  # libwebp's reasons come in several kinds, and say nothing.
        raise broken("WEBP", "its pixels cannot be decoded") from error


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Split the container into chunks; what follows it is not looked at."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise broken("WEBP", f"expected {end:,} bytes, found {len(data):,}")
    chunks, start = [], 12
    while start + 8 <= end:
        length = int.from_bytes(data[start + 4 : start + 8], "little")
        kind, body = data[start : start + 4], data[start + 8 : min(start + 8 + length, end)]
        if len(body) < length:
            if kind in _PIXELS:
                raise broken("WEBP", "a chunk ends behind the image")
            break
        chunks.append((kind, body))
        if len(chunks) > MAX_PARTS:
            raise too_many_parts("WEBP")
        start += 8 + length + length % 2
    return chunks


def _size(chunks: list[tuple[bytes, bytes]]) -> tuple[int, int]:
    """Read the canvas size, in pixels, from the first chunk (RFC 9649, sections 2.5 to 2.7)."""
    kind, body = chunks[0] if chunks else (b"", b"")
    if kind == b"VP8X" and len(body) >= 10:
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8 " and len(body) >= 10:
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    if kind == b"VP8L" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise broken("WEBP", "no size in its header")


def _container(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """Put chunks into a container of their own, whose header promises no metadata."""
    parts = [b"WEBP"]
    for kind, body in chunks:
        if kind == b"VP8X":
            body = bytes([body[0] & (_ANIMATED | _ALPHA)]) + body[1:]  # noqa: PLW2901
        parts += [kind, len(body).to_bytes(4, "little"), body, b"\0" * (len(body) % 2)]
    joined = b"".join(parts)
    return b"RIFF" + len(joined).to_bytes(4, "little") + joined
