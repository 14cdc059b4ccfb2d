"""`samples.npz` holds a few images that the server can read, and nothing else."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serving.bundle.npz import to_npz
from serving.bundle.samples import MAX_BYTES, Samples
from serving.errors import BundleError
from serving.images.preprocessing import Preprocessing
from tests.bundles import CLASSES, SIZE, tiny_samples

SPEC = Preprocessing(height=SIZE, width=SIZE)
SIZES = [len(image) for image in tiny_samples().images]


def read(data: bytes) -> Samples:
    return Samples.from_bytes(data, len(CLASSES), SPEC)


def encoded(image: Image.Image, image_format: str, **options: Any) -> bytes:
    with io.BytesIO() as file:
        image.save(file, image_format, **options)
        return file.getvalue()


def test_what_is_written_is_read_and_has_the_same_bytes_again() -> None:
    samples = tiny_samples()
    assert read(samples.to_bytes()) == samples
    assert samples.to_bytes() == tiny_samples().to_bytes()


def test_labels_may_be_unknown() -> None:
    samples = replace(tiny_samples(), labels=None)
    assert read(samples.to_bytes()) == samples


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
def test_every_format_of_the_server_may_be_in_it(image_format: str) -> None:
    file = encoded(Image.new("RGB", (20, 10), "red"), image_format)
    samples = read(Samples((file,)).to_bytes())
    assert samples.media_type(0) == f"image/{image_format.lower()}"


RED, BLUE = (Image.new("RGB", (8, 8), name) for name in ("red", "blue"))
MOVING = encoded(RED, "PNG", save_all=True, append_images=[BLUE])
LARGE = encoded(Image.new("L", (4096, 4097)), "PNG", compress_level=1)


def arrays(**changed: Any) -> bytes:
    samples = tiny_samples()
    whole = {
        "images": np.frombuffer(b"".join(samples.images), np.uint8),
        "sizes": np.array(SIZES, np.int64),
        "labels": np.zeros(len(SIZES), np.int64),
    }
    return to_npz({name: values for name, values in {**whole, **changed}.items() if values is not None})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"no archive", "not a readable npz file"),
        (arrays(sizes=None), "expected the arrays"),
        (arrays(notes=np.zeros(1)), "expected the arrays"),
        (arrays(sizes=np.array(SIZES, np.int32)), "sizes must be int64"),
        (arrays(sizes=np.array([SIZES], np.int64)), "sizes must be int64"),
        (arrays(images=np.zeros(sum(SIZES), np.int8)), "images must be uint8"),
        (arrays(sizes=np.array([], np.int64)), "expected 1 to 64 images, found 0"),
        (arrays(sizes=np.ones(65, np.int64)), "expected 1 to 64 images, found 65"),
        (arrays(sizes=np.array([*SIZES[:-1], SIZES[-1] + 1])), "add up to the"),
        (arrays(sizes=np.array([2**62, 2**62, 2**62])), "add up to the"),
        (arrays(sizes=np.array([-1, *SIZES[1:]])), "sizes must be positive"),
        (arrays(sizes=np.array([SIZES[0] - 1, SIZES[1] + 1, SIZES[2]])), r"images\[0\]: .*truncated"),
        (arrays(labels=np.zeros(2, np.int64)), r"labels must be int64 \[3\]"),
        (arrays(labels=np.array([0, 1, 4])), r"labels must lie in 0\.\.3"),
        (arrays(labels=np.array([0, -1, 1])), r"labels must lie in 0\.\.3"),
        (arrays(images=np.zeros(MAX_BYTES + 1, np.uint8)), "over the limit of 524288"),
        (Samples((b"<svg/>",)).to_bytes(), r"images\[0\]: expected a PNG, JPEG or WebP"),
        (Samples((MOVING,)).to_bytes(), r"images\[0\]: expected a still image"),
        (Samples((LARGE,)).to_bytes(), "expected at most 16,777,216 pixels"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_by_name(data: bytes, said: str) -> None:
    with pytest.raises(BundleError, match=said):
        read(data)
