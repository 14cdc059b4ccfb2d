"""Whether the strips or tiles of a TIFF are whole, where libtiff fills up one that ends early.

It reports the end in its own other codecs. JPEG (TIFF Technical Note 2) goes on in grey, fax codes in white.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from serving.errors import ImageError
from serving.images.jpeg import open_jpeg

_COMPRESSION, _FILL_ORDER, _JPEG_TABLES = 259, 266, 347
_PLACES = ((273, 279), (324, 325))  # offsets and lengths of strips, and of tiles
_FAX_3, _FAX_4, _JPEG = (2, 3), 4, 7
_REVERSED = 2
_END_OF_FAX = "000000000001" * 2
_LEAST_END = 32  # bits: the end code, and up to a byte of padding


def check_strips(data: bytes, tags: Mapping[int, Any]) -> None:
    """Refuse a TIFF with a strip that ends before its pixels do.

    Args:
        data: the file.
        tags: of its first directory.

    Raises:
        ImageError: such a strip, or codes that do not show their end.
    """
    compression = tags.get(_COMPRESSION)
    if compression in _FAX_3:
        raise ImageError(
            "expected a TIFF whose codes show whether it is whole, found fax codes of group 3: save it again"
        )
    if compression == _JPEG:
        tables = tags.get(_JPEG_TABLES, b"\xff\xd8\xff\xd9")
        for strip in _strips(data, tags):
            open_jpeg(tables[:-2] + strip[2:]).decode(None)
    elif compression == _FAX_4:
        for strip in _strips(data, tags):
            if not _ends_as_fax(strip, backwards=tags.get(_FILL_ORDER) == _REVERSED):
                raise ImageError("the TIFF image is truncated or broken: a strip has no end code (EOFB)")


def _strips(data: bytes, tags: Mapping[int, Any]) -> Iterator[bytes]:
    for offsets, lengths in _PLACES:
        for start, length in zip(tags.get(offsets, ()), tags.get(lengths, ()), strict=False):
            yield data[start : start + length]


def _ends_as_fax(strip: bytes, *, backwards: bool) -> bool:
    """Whether the last code is that of the end (ITU-T T.6, 2.4.1.1); zeros may follow."""
    bits = "".join(f"{byte:08b}"[:: -1 if backwards else 1] for byte in strip.rstrip(b"\0")[-5:])
    return bits[-_LEAST_END:].rstrip("0").endswith(_END_OF_FAX)
