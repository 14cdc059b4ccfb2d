"""Images as callers have them reach the server as the pixels that `Model.classify` would see."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.client.pictures import encoded
from serving.errors import ImageError, ImageSizeError
from serving.images.decode import decode
from serving.images.inputs import MAX_PIXELS, pixels_of
from serving.images.preprocessing import Preprocessing

SPEC = Preprocessing(height=8, width=8)
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)


def file_of(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    with io.BytesIO() as file:
        image.save(file, form, **options)
        return file.getvalue()


def test_files_and_bytes_go_as_they_are(tmp_path: Path) -> None:
    data = file_of(Image.fromarray(PIXELS), "JPEG")
    (tmp_path / "a.jpg").write_bytes(data)
    assert encoded(data) == encoded(tmp_path / "a.jpg") == encoded(str(tmp_path / "a.jpg")) == [data]


def turned() -> Image.Image:
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    return Image.open(io.BytesIO(file_of(Image.fromarray(PIXELS), exif=exif)))


@pytest.mark.parametrize(
    "image",
    [
        PIXELS,
        PIXELS[:, ::-1],
        Image.fromarray(PIXELS),
        Image.fromarray(PIXELS).convert("L"),
        Image.fromarray(PIXELS).convert("CMYK"),
        Image.fromarray(np.dstack([PIXELS, PIXELS[:, :, 0]])),  # transparent
        Image.fromarray(PIXELS[:, :, 0].astype(np.uint16) * 257),
        turned(),
    ],
    ids=["array", "strided", "rgb", "grey", "cmyk", "transparent", "16 bits", "turned"],
)
def test_pixels_arrive_as_model_classify_would_see_them(image: object) -> None:
    (data,) = encoded(image)  # type: ignore[arg-type]
    expected = pixels_of(image, SPEC)  # type: ignore[arg-type]
    np.testing.assert_array_equal(decode(data, SPEC, MAX_PIXELS), expected[0])


def test_an_array_of_several_images_is_several(tmp_path: Path) -> None:
    several = np.stack([PIXELS, PIXELS[::-1]])
    assert encoded(several) == encoded([PIXELS, PIXELS[::-1]]) == encoded(list(several))
    assert len(encoded(several[:1])) == 1


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "found an empty list"),
        (7, "found int"),
        (np.zeros((0, 8, 8, 3), np.uint8), r"found uint8 \[0, 8, 8, 3\]"),
        (np.zeros((8, 8, 3)), r"found float64 \[8, 8, 3\]"),
        (np.zeros((8, 8), np.uint8), r"found uint8 \[8, 8\]"),
        ("nowhere.png", "cannot read 'nowhere.png': No such file"),
        ([PIXELS, None], r"images\[1\]: .* found NoneType"),
        ([PIXELS, "nowhere.png"], r"images\[1\]: cannot read 'nowhere.png'"),
    ],
)
def test_what_is_no_image_is_refused_before_anything_is_sent(images: object, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        encoded(images)  # type: ignore[arg-type]


def test_a_folder_and_a_pipe_are_no_images(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="expected a regular file"):
        encoded(tmp_path)


def test_an_image_of_too_many_pixels_is_refused() -> None:
    with pytest.raises(ImageSizeError, match="at most 80,000,000 pixels, found 10000x9000"):
        encoded(Image.new("1", (10_000, 9_000)))
