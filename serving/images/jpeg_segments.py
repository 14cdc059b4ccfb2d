"""Takes a JPEG file apart: the segments that its pixels need, and what lies beside them.

ITU-T T.81, annex B. Only what decoding needs is put together again, so that no application segment, comment
or stray byte between two segments can fail a sound picture. Of the two application segments that say how the
colours are stored (JFIF's and Adobe's) just that is kept.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from serving.errors import ImageError
from serving.images.jpeg_scans import is_whole
from serving.images.still import MAX_PARTS, broken, too_many_parts

START, END = b"\xff\xd8", b"\xff\xd9"
MAX_SCANS = 100
"""More scans than this hold no picture that an encoder makes, and each costs as much as a whole one."""

_TABLES = (0xC4, 0xDB, 0xDD)  # Huffman, quantisation, restart interval
_LOSSLESS = 0xC3
_FRAMES = (0xC0, 0xC1, 0xC2, _LOSSLESS)  # baseline, extended, progressive
_OTHER_FRAMES = (0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCC, 0xCD, 0xCE, 0xCF)
_SCAN, _END, _ADOBE = 0xDA, 0xD9, 0xEE
_JFIF_NAME, _ADOBE_NAME = b"JFIF\0", b"Adobe"
_EXIF_NAME, _XMP_NAME = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
# Name, marker and least length.
_APPLICATIONS = (
    (_JFIF_NAME, 0xE0, 14),
    (_ADOBE_NAME, _ADOBE, 12),
    (_EXIF_NAME, 0xE1, 0),
    (_XMP_NAME, 0xE1, 0),
)
_MARKER = re.compile(rb"\xff([^\x00\xff])")
# Restart markers and stuffed bytes are part of a scan.
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_JFIF = b"\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0"


@dataclass(frozen=True)
class JpegParts:
    """The parts of a JPEG that matter to its pixels.

    Attributes:
        size: width and height in pixels.
        components: 1 (grey), 3 or 4 (CMYK or YCCK).
        lossless: whether it is of the lossless process, which has no smaller version of itself.
        start: the start mark, and how the colours are stored.
        scans: of each scan the segments that stand before it, its own header the last, and its codes.
        exif: EXIF data; None without.
        xmp: an XMP packet; None without.
    """

    size: tuple[int, int]
    components: int
    lossless: bool
    start: bytes
    scans: tuple[tuple[bytes, bytes], ...]
    exif: bytes | None
    xmp: bytes | None

    def stream(self) -> bytes:
        """Return the file put together again, without what its pixels do not need."""
        return self.start + b"".join(map(b"".join, self.scans)) + END


def read_parts(data: bytes) -> JpegParts:
    """Take the first picture of a JPEG file apart; what follows its end mark is not looked at.

    Raises:
        ImageError: truncated, broken, or of a process that is not read.
    """
    scans: list[tuple[bytes, bytes]] = []
    beside: dict[bytes, bytes] = {}
    headers: list[bytes] = []
    frame, tables = b"", b""
    for marker, body, codes in _segments(data):
        if marker in _FRAMES:
            _check_first(frame)
            frame = bytes([marker]) + body
            tables += _segment(marker, body)
        elif marker in _TABLES:
            tables += _segment(marker, body)
        elif marker == _SCAN:
            headers.append(body)
            scans.append((tables + _segment(marker, _corrected(body, frame)), codes))
            tables = b""
            if len(scans) > MAX_SCANS:
                raise ImageError(f"expected a JPEG of at most {MAX_SCANS} scans, found more: save it again")
        elif marker in _OTHER_FRAMES:
            raise ImageError(
                "expected a baseline, extended or progressive JPEG with Huffman codes, found another process "
                "(arithmetic codes do not show whether a picture is whole): save it again"
            )
        else:
            _take(beside, marker, body)
    components = _check_frame(frame)
    if not scans:
        raise broken("JPEG", "it holds no pixels")
    if not is_whole(frame, headers):
        raise broken("JPEG", "it ends before all of its scans")
    return JpegParts(
        size=(int.from_bytes(frame[4:6], "big"), int.from_bytes(frame[2:4], "big")),
        components=components,
        lossless=frame[0] == _LOSSLESS,
        start=START + (_JFIF if _JFIF_NAME in beside else b"") + _adobe(beside.get(_ADOBE_NAME), components),
        scans=tuple(scans),
        exif=beside.get(_EXIF_NAME),
        xmp=beside.get(_XMP_NAME),
    )


def _take(beside: dict[bytes, bytes], marker: int, body: bytes) -> None:
    """Keep an application segment that matters: the first of its name, but EXIF may be cut into several."""
    for name, of, shortest in _APPLICATIONS:
        if marker == of and body.startswith(name) and len(body) >= shortest:
            if name == _EXIF_NAME:
                beside[name] = beside.get(name, b"") + body.removeprefix(name)
            else:
                beside.setdefault(name, body)


def _segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield the segments before the end mark: marker, body, and the codes behind a scan's header."""
    start = len(START)
    for _ in range(MAX_PARTS):
        found = _MARKER.search(data, start)
        if found is None:
            raise broken("JPEG", "it ends without an end mark")
        marker, start = found[1][0], found.end()
        if marker == _END:
            return
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # These stand alone.
            continue
        length = max(2, int.from_bytes(data[start : start + 2], "big"))
        body, start = data[start + 2 : start + length], start + length
        if start > len(data):
            raise broken("JPEG", "it ends within a segment")
        codes = b""
        if marker == _SCAN:
            scan_end = _SCAN_END.search(data, start)
            if scan_end is None:
                raise broken("JPEG", "it ends within its pixels")
            codes, start = data[start : scan_end.start()], scan_end.start()
        yield marker, body, codes
    raise too_many_parts("JPEG")


def _check_first(frame: bytes) -> None:
    if frame:
        raise broken("JPEG", "it has two headers")


def _check_frame(frame: bytes) -> int:
    """Return the number of components of a frame header: its marker and its body."""
    components = frame[6] if len(frame) > 6 else 0
    if components not in (1, 3, 4) or len(frame) < 7 + 3 * components:
        raise broken("JPEG", "expected a header of 1, 3 or 4 components")
    if frame[1] != 8:
        raise ImageError(f"expected a JPEG of 8 bits a sample, found {frame[1]}: save it with 8")
    if not any(frame[2:4]) or not any(frame[4:6]):
        raise broken("JPEG", "expected at least one pixel")
    return components


def _corrected(body: bytes, frame: bytes) -> bytes:
    """Correct a sequential scan's spectral selection, which means nothing there and is often wrong."""
    if frame[:1] in (b"\xc0", b"\xc1") and len(body) > 3:
        return body[:-3] + b"\x00\x3f\x00"
    return body


def _segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def _adobe(body: bytes | None, components: int) -> bytes:
    """The segment that says how colours are stored; an unknown way is read as libjpeg reads it."""
    if body is None or components == 1:
        return b""
    transform = body[11] and {3: 1, 4: 2}[components]
    return _segment(_ADOBE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))
