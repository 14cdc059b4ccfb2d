from io import BytesIO
from typing import Any
from zlib import compress, crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, PngImagePlugin

from serving.errors import ImageError
from serving.images import decode as preprocess
from serving.images.decode import decode
from serving.images.plain_png import open_plain
from serving.images.preprocessing import Preprocessing

SPEC = Preprocessing(height=7, width=5)
PIXELS = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)


def png(image: Image.Image | None = None, **options: Any) -> bytes:
    stream = BytesIO()
    (image or Image.fromarray(PIXELS)).save(stream, "PNG", **options)
    return stream.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + crc32(kind + body).to_bytes(4, "big")


PLAIN = png()


def outcome(data: bytes) -> Any:
    """What decoding comes to: pixels, or the kind of error."""
    try:
        return decode(data, SPEC, 10_000).tolist()
    except ImageError as error:
        return type(error)


def long_way(data: bytes, monkeypatch: pytest.MonkeyPatch) -> Any:
    with monkeypatch.context() as patched:
        patched.setattr(preprocess, "open_plain", lambda data, size: None)
        return outcome(data)


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"compress_level": 0}, {"compress_level": 9}])
def test_plain_images_have_their_pixels(options: dict[str, Any]) -> None:
    image = open_plain(png(**options), (5, 7))
    assert image is not None
    np.testing.assert_array_equal(np.asarray(image), PIXELS)


def test_pixels_in_several_chunks_are_joined() -> None:
    start, end = PLAIN.index(b"IDAT") - 4, PLAIN.index(b"IEND") - 4
    stream = PLAIN[start + 8 : end - 4]
    split = PLAIN[:start] + chunk(b"IDAT", stream[:9]) + chunk(b"IDAT", stream[9:]) + PLAIN[end:]
    image = open_plain(split, (5, 7))
    assert image is not None
    np.testing.assert_array_equal(np.asarray(image), PIXELS)


def info(**texts: str) -> PngImagePlugin.PngInfo:
    found = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        found.add_text(name, text)
    return found


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return exif


@pytest.mark.parametrize(
    "other",
    [
        png(Image.new("RGBA", (5, 7))),
        png(Image.new("L", (5, 7))),
        png(Image.new("P", (5, 7))),
        png(Image.new("RGB", (7, 5))),
        png(transparency=(1, 2, 3)),
        png(pnginfo=info(Comment="a text")),
        png(exif=turned()),
        png(save_all=True, append_images=[Image.new("RGB", (5, 7))]),
        PLAIN[:-4],
        PLAIN[:-12],
        PLAIN[:60],
        PLAIN[:20],
        PLAIN[:33] + chunk(b"IDAT", compress(b"short")) + chunk(b"IEND", b""),
        PLAIN[:33] + chunk(b"IDAT", b"no stream") + chunk(b"IEND", b""),
        PLAIN[:33] + chunk(b"IEND", b""),
        b"",
        b"\xff\xd8\xff",
    ],
)
def test_anything_else_is_left_to_pillow(other: bytes) -> None:
    assert open_plain(other, (5, 7)) is None


@given(st.integers(0, len(PLAIN) - 1), st.integers(0, 255))
def test_a_changed_byte_changes_nothing_about_what_comes_of_it(place: int, byte: int) -> None:
    changed = PLAIN[:place] + bytes([byte]) + PLAIN[place + 1 :]
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert outcome(changed) == long_way(changed, monkeypatch)


@given(st.integers(0, len(PLAIN)))
def test_a_missing_end_changes_nothing_either(length: int) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert outcome(PLAIN[:length]) == long_way(PLAIN[:length], monkeypatch)
