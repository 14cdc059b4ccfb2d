"""Bodies read step by step: JSON by its form, images one at a time, and limits before anything costs."""

import base64
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from serving.errors import ImageError, ImageSizeError, OfframpError, RequestError
from serving.images.preprocessing import Preprocessing
from serving.web.reading.images import QUICK_BYTES, BodyReader, ReadLimits, media_type
from tests.serving.web.posting import encoded

SPEC = Preprocessing(height=8, width=8)
LIMITS = ReadLimits(images=4, pixels=1024, request_pixels=2000)
IMAGE = encoded(np.full((8, 8, 3), 7, np.uint8))


def listed(*images: bytes) -> bytes:
    return json.dumps({"images": [base64.b64encode(image).decode() for image in images]}).encode()


def read(body: bytes, content_type: str = "application/json") -> np.ndarray:
    reader = BodyReader(body, content_type, SPEC, LIMITS)
    while (pixels := reader.step()) is None:
        pass
    return pixels


def test_each_step_decodes_one_image() -> None:
    reader = BodyReader(listed(IMAGE, IMAGE, IMAGE), "application/json; charset=utf-8", SPEC, LIMITS)
    steps = [reader.step() for _ in range(3)]
    assert steps == [None, None, None]
    pixels = reader.step()
    assert pixels is not None
    assert pixels.shape == (3, 8, 8, 3)
    assert reader.listed


def test_pixels_of_all_images_together_are_bounded_before_any_is_decoded() -> None:
    large = encoded(np.zeros((30, 30, 3), np.uint8))
    assert read(listed(large, large)).shape == (2, 8, 8, 3)
    with pytest.raises(ImageSizeError, match="at most 2,000 pixels in one request, found 2,700"):
        read(listed(large, large, large))


def test_no_file_hides_its_pixels_from_that_bound() -> None:
    """A stray byte before a JPEG's header, or a chunk before a WebP's, are no matter to a decoder."""
    jpeg = encoded(np.zeros((30, 30, 3), np.uint8), "JPEG")
    start = jpeg.index(b"\xff\xc0")
    webp = encoded(np.zeros((30, 30, 3), np.uint8), "WEBP")
    stray = jpeg[:start] + b"\1" + jpeg[start:]
    late = webp[:4] + len(webp).to_bytes(4, "little") + webp[8:12] + b"abcd\0\0\0\0" + webp[12:]
    for image in (stray, late):
        assert read(listed(image, image)).shape == (2, 8, 8, 3)
        with pytest.raises(ImageSizeError, match="at most 2,000 pixels in one request, found 2,700"):
            read(listed(image, image, image))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"images":[' + b'"",' * 5000 + b'""]}', "found far more strings"),
        (b'{"images":[' + b"[]," * 5000 + b"[]]}", "expected a base64 string, found array"),
        (b'{"images":' + b"[" * 100_000, "expected a base64 string, found array"),
        (b'{"images":[],"more":1}', "nothing else in it"),
        (b'{"images":[]}', "expected 1 to 4 images, found 0"),
        (b'{"images":["a"]}', r"images\[0\]: expected base64"),
        (b'{"images":["","",3]}', r"images\[2\]: expected a base64 string, found int"),
        (b'{"images":{}}', "JSON of the form"),
        (b"7", "JSON of the form"),
        (b"{", "not JSON"),
        (b'{"images":["\xff"]}', "not JSON"),
    ],
)
def test_json_of_another_form_is_refused_by_name(body: bytes, text: str) -> None:
    with pytest.raises(RequestError, match=text):
        read(body)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.text(), inner) | st.fixed_dictionaries({"images": inner})
        ),
        max_leaves=20,
    )
)
def test_any_json_is_images_or_a_refusal(document: object) -> None:
    """No document, whatever its form, ends in anything but images or a client's error."""
    try:
        assert read(json.dumps(document).encode()).dtype == np.uint8
    except OfframpError as error:
        assert 400 <= error.status < 500  # noqa: PT017 - either is right


@given(st.text(max_size=100))
def test_any_content_type_has_a_media_type_or_none(text: str) -> None:
    """A media type is what comes before the first semicolon, in lower case and without spaces around it."""
    found = media_type(text)
    assert ";" not in found
    assert found == found.strip() == found.lower() or not text.isascii()
    assert media_type(f" {found.upper() if found.isascii() else found} ; {text}") == found


@given(st.text(max_size=100), st.binary(max_size=50))
def test_any_content_type_over_any_bytes_is_images_or_a_refusal(content_type: str, body: bytes) -> None:
    """A body is decoded by its type or refused as the client's fault, never anything else."""
    with (
        pytest.raises(ImageError)
        if media_type(content_type) != "application/json"
        else pytest.raises(OfframpError)
    ):
        read(body, content_type)


def quick(body: bytes, content_type: str = "image/png", side: int = 8) -> bool:
    limits = ReadLimits(images=4, pixels=10**6, request_pixels=10**6)
    return BodyReader(body, content_type, Preprocessing(height=side, width=side), limits).quick


def test_one_small_image_is_quick_and_all_else_is_not() -> None:
    assert quick(IMAGE)
    assert quick(IMAGE, "application/octet-stream")
    assert not quick(encoded(np.zeros((97, 96, 3), np.uint8)))  # its header says so, however few its bytes
    assert not quick(IMAGE, side=97)  # it is scaled to what the model takes
    assert not quick(IMAGE + bytes(QUICK_BYTES))
    assert not quick(listed(IMAGE), "application/json")
    with pytest.raises(ImageError):
        quick(b"no image")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_image_with_metadata_is_not_quick_since_they_may_inflate(kind: str) -> None:
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 8)).save(stream, kind, exif=exif)
    assert not quick(stream.getvalue(), f"image/{kind.lower()}")
