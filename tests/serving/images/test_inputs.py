"""Images of callers in this process, against what the same images give over HTTP."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.errors import ImageError
from serving.images.decode import decode
from serving.images.inputs import MAX_PIXELS, pixels_of
from serving.images.preprocessing import Preprocessing

SPEC = Preprocessing(height=8, width=8)
CROP = Preprocessing(height=8, width=8, resize=10)


def picture(mode: str, size: tuple[int, int] = (20, 12)) -> Image.Image:
    channels = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], channels), np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def encoded(image: Image.Image, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


@pytest.mark.parametrize("spec", [SPEC, CROP])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_a_pillow_image_gives_the_pixels_of_its_file(mode: str, spec: Preprocessing) -> None:
    image = picture(mode)
    expected = decode(encoded(image), spec, MAX_PIXELS)
    np.testing.assert_array_equal(pixels_of(image, spec)[0], expected)
    np.testing.assert_array_equal(pixels_of(encoded(image), spec)[0], expected)


def test_orientation_and_sixteen_bits_are_read_as_from_a_file() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(picture("RGB"), exif=exif)
    np.testing.assert_array_equal(
        pixels_of(Image.open(BytesIO(data)), SPEC)[0], decode(data, SPEC, MAX_PIXELS)
    )
    deep = Image.fromarray(np.random.default_rng(0).integers(0, 2**16, (12, 20), np.uint16))
    np.testing.assert_array_equal(pixels_of(deep, SPEC)[0], decode(encoded(deep), SPEC, MAX_PIXELS))


def test_an_array_of_the_right_size_is_passed_on_and_another_one_is_resized() -> None:
    fitting = np.zeros((2, 8, 8, 3), np.uint8)
    assert pixels_of(fitting, SPEC) is fitting
    image = picture("RGB")
    np.testing.assert_array_equal(pixels_of(np.asarray(image), SPEC), pixels_of(image, SPEC))


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        ([], "found an empty list"),
        (3, "found int"),
        ([b"no image"], r"images\[0\]: expected a PNG"),
        (["/nowhere/at/all.png"], r"images\[0\]: cannot read '/nowhere/at/all.png': No such file"),
        (["a\0b"], "cannot read"),
        ([None], r"images\[0\]: expected a path, bytes, a Pillow image or an array, found NoneType"),
        ([np.zeros((1, 8, 8, 3), np.uint8)], r"expected one image, uint8 \[H, W, 3\]"),
        (np.zeros((2, 8, 8), np.uint8), r"found uint8 \[2, 8, 8\]"),
        (np.zeros((8, 8, 3)), r"found float64 \[8, 8, 3\]"),
        (np.zeros((1, 0, 8, 3), np.uint8), r"found uint8 \[1, 0, 8, 3\]"),
    ],
)
def test_what_is_no_image_is_refused_by_its_place(images: object, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        pixels_of(images, SPEC)  # type: ignore[arg-type]


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("not an image")
    with pytest.raises(ImageError, match=r"notes\.png': expected a PNG, JPEG or WebP image"):
        pixels_of(path, SPEC)


def test_a_pillow_image_that_cannot_be_decoded_is_an_image_error() -> None:
    data = encoded(picture("RGB"))
    with pytest.raises(ImageError, match="the Pillow image cannot be read"):
        pixels_of(Image.open(BytesIO(data[: len(data) // 2])), SPEC)
