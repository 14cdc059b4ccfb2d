"""What an image costs is told from its structure, in bounded time, and as Pillow tells it."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from serving.errors import ImageError
from serving.images.headers import MAX_PARTS, pixel_count


def encoded(image_format: str, size: tuple[int, int], **options: object) -> bytes:
    stream = BytesIO()
    Image.new("RGB", size, "red").save(stream, image_format, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"exif": b"Exif\0\0" + bytes(60_000)}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0" + bytes(100)}),
    ],
)
def test_width_times_height_as_it_was_encoded(image_format: str, options: dict[str, object]) -> None:
    assert pixel_count(encoded(image_format, (37, 21), **options)) == 37 * 21


@given(
    st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"RIFF....WEBPVP8X"])
)
def test_any_bytes_give_a_number_or_a_named_refusal(data: bytes, start: bytes) -> None:
    """No bytes, whatever they start like, make the look at their structure fail or go on for long."""
    assert pixel_count(start + data) >= 0


def test_more_parts_than_any_encoder_writes_are_refused() -> None:
    png = encoded("PNG", (8, 8))
    empty = b"\0\0\0\0IDAT" + bytes(4)
    with pytest.raises(ImageError, match="chunks"):
        pixel_count(png[:33] + empty * MAX_PARTS + png[33:])
    jpeg = encoded("JPEG", (8, 8))
    with pytest.raises(ImageError, match="segments"):
        pixel_count(jpeg[:2] + b"\xff\xfe\0\2" * MAX_PARTS + jpeg[2:])
    with pytest.raises(ImageError, match="scans"):
        pixel_count(jpeg + b"\xff\xda\0\2" * 101)


def test_a_photograph_of_many_scans_is_still_read() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    stream = BytesIO()
    Image.fromarray(noise).save(stream, "JPEG", progressive=True, quality=95)
    assert pixel_count(stream.getvalue()) == 64 * 64
