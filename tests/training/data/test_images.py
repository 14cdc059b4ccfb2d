from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from serving.images.decode import decode as serve
from serving.images.decode import to_array
from serving.images.preprocessing import Preprocessing
from serving.images.still import Still
from tests.training.data.conftest import Picture
from training.data.images import channel_statistics, decode
from training.data.source import load_source
from training.data.streaming import StreamedFeed
from training.errors import DataError

SPEC = Preprocessing(height=16, width=16, resize=16)


def still(image: Image.Image) -> Still:
    return Still(image.size, 1, 1, lambda shorter_side: image)


def test_rows_come_in_the_order_asked_for_and_as_served(
    image_folder: Path, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.data.images.CHUNK", 2)
    part, seen = load_source(str(image_folder)).parts["train"], []
    images = decode(part, np.array([12, 3, 25]), SPEC, lambda what, done, total: seen.append((done, total)))
    # Classes are ant (100 …), bee (200 …), train (0 …): row 12 is bee 2, row 3 ant 3, row 25 train 5.
    expected = np.stack([to_array(still(picture(number)), SPEC) for number in (202, 103, 5)])
    assert np.array_equal(images, expected)
    assert seen == [(2, 3), (3, 3)]


@pytest.mark.parametrize("way", [None, "scaled"])
def test_training_reads_the_pixels_that_are_served(tmp_path: Path, way: Literal["scaled"] | None) -> None:
    """Validation, calibration (`decode`, `StreamedFeed`) and the server, on photographs."""
    sizes = ((40, 30), (64, 48), (150, 100))
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number, size in enumerate(sizes):
            noise = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(noise).resize(size).save(tmp_path / "photos" / name / f"{number}.jpg")
    spec = Preprocessing(height=16, width=16, resize=18, decode=way)
    part = load_source(str(tmp_path / "photos")).parts["train"]
    rows = np.arange(3)
    files = [(tmp_path / "photos" / "a" / f"{number}.jpg").read_bytes() for number in rows]
    served = np.stack([serve(data, spec, 1_000_000) for data in files])
    np.testing.assert_array_equal(decode(part, rows, spec), served)
    (batch,) = StreamedFeed(part, rows, spec, torch.device("cpu"), workers=0).batches([rows], None)
    np.testing.assert_array_equal(batch.images.numpy(), served)


def test_the_number_of_threads_changes_nothing(shards: Path) -> None:
    part = load_source(str(shards)).parts["train"]
    one, many = (decode(part, np.arange(40), SPEC, threads=threads) for threads in (1, 5))
    assert np.array_equal(one, many)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n and then nothing"])
def test_an_unreadable_image_is_named(image_folder: Path, content: bytes) -> None:
    (image_folder / "bee" / "4.png").write_bytes(content)
    part = load_source(str(image_folder)).parts["train"]
    with pytest.raises(
        DataError, match=r"pictures train: the image in row 14 \(.*bee/4\.png\) cannot be read"
    ):
        decode(part, np.arange(30), SPEC)


def test_statistics_of_known_pixels() -> None:
    images = np.zeros((2, 2, 2, 3), dtype=np.uint8)
    images[0, ..., 1] = 255  # Green: half black, half full.
    images[..., 2] = 51  # Blue: a constant fifth.
    mean, std = channel_statistics([images])
    assert mean == pytest.approx((0, 0.5, 0.2))
    assert std == pytest.approx((1 / 255, 0.5, 1 / 255))


def test_statistics_do_not_depend_on_chunks() -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 4, 4, 3), dtype=np.uint8)
    assert channel_statistics([images]) == channel_statistics([images[5:], images[:2], images[2:5]])


def test_published_statistics_of_cifar(cifar_root: Path) -> None:
    part = load_source(str(cifar_root / "cifar10")).parts["train"]
    mean, std = channel_statistics([decode(part, np.arange(50_000), Preprocessing(height=32, width=32))])
    assert mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=1e-4)
    assert std == pytest.approx((0.2470, 0.2435, 0.2616), abs=1e-4)
