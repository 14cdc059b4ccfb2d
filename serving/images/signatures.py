"""Names bytes that are no image of a format that is read, so that a refusal can say what was sent instead."""

_STARTS: tuple[tuple[tuple[bytes, ...], str], ...] = (
    ((b"GIF87a", b"GIF89a"), "a GIF image"),
    ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "a TIFF image"),
    ((b"BM",), "a BMP image"),
    ((b"\0\0\0\x0cJXL ", b"\xff\x0a"), "a JPEG XL image"),
    ((b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"), "a JPEG 2000 image"),
    ((b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7", b"Pf", b"PF"), "a PBM, PGM, PPM or PFM image"),
    ((b"\0\0\1\0",), "an icon (ICO)"),
    ((b"8BPS",), "a Photoshop document"),
    ((b"v/1\1",), "an OpenEXR image"),
    ((b"\x93NUMPY",), "a NumPy array (send it as application/x-npy)"),
    ((b"%PDF",), "a PDF document"),
    ((b"PK\3\4",), "a ZIP archive"),
    ((b"\x1f\x8b",), "gzip-compressed bytes"),
    ((b"data:",), "a data URL (send the bytes that it stands for)"),
    ((b"iVBORw0KGgo", b"/9j/", b"UklGR"), "an image in base64 (send its bytes, or JSON)"),
    ((b"--",), "a form without its Content-Type, or its boundary"),
    ((b"{", b"["), "JSON without its Content-Type"),
    ((b"<svg", b"<?xml"), "an SVG image or other XML"),
    ((b"<!doctype", b"<!DOCTYPE", b"<html"), "a page of HTML"),
)
_BRANDS = {
    b"avif": "an AVIF image",
    b"avis": "an AVIF image",
    b"heic": "a HEIC image",
    b"heix": "a HEIC image",
    b"heim": "a HEIC image",
    b"heis": "a HEIC image",
    b"mif1": "a HEIF image",
    b"msf1": "a HEIF image",
}


def kind_of(data: bytes) -> str | None:
    """Say what bytes are, with its article; None where they start like nothing known.

    >>> kind_of(b"GIF89a...")
    'a GIF image'
    """
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "a film (MP4 or its like)")
    start = data[:64]
    texts = start.lstrip()  # Only texts begin with blanks.
    for starts, kind in _STARTS:
        if start.startswith(starts) or (texts.isascii() and texts.startswith(starts)):
            return kind
    return None
