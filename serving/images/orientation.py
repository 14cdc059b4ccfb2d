"""The orientation of a picture, from the metadata beside it; metadata that cannot be read turn nothing."""

import re
from typing import Final

UPRIGHT: Final = 1

_TAG, _INTEGERS = 0x0112, {1: 1, 3: 2, 4: 4}  # the tag, and the bytes of each type that may hold it
_MAX_ENTRIES = 1000
_XMP = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')


def orientation(exif: bytes | None, xmp: bytes | None = None) -> int:
    """Read the orientation from EXIF, or else from XMP.

    Args:
        exif: a TIFF structure, with or without the `Exif` prefix.
        xmp: an XMP packet.

    Returns:
        1 to 8; 1, upright, where neither can be read.
    """
    found = _from_exif(exif or b"")
    if found is None and xmp is not None and (match := _XMP.search(xmp)):
        found = int(match[1])
    return UPRIGHT if found is None else found


def _from_exif(exif: bytes) -> int | None:
    """Find the tag in the first directory of a TIFF structure (TIFF 6.0, section 2)."""
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(exif[:4])
    if order is None:
        return None

    def number(start: int, size: int) -> int:
        return int.from_bytes(exif[start : start + size], "little" if order == "little" else "big")

    start = number(4, 4)
    for entry in range(start + 2, start + 2 + 12 * min(number(start, 2), _MAX_ENTRIES), 12):
        size = _INTEGERS.get(number(entry + 2, 2))
        if number(entry, 2) == _TAG and size is not None and entry + 12 <= len(exif):
            value = number(entry + 8, size)
            return value if 1 <= value <= 8 else None
    return None
