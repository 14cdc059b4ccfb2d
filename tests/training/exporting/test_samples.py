"""Samples come from calibration images that thresholds are fitted on, and give the server the same pixels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from serving.bundle.samples import MAX_BYTES, Samples
from serving.images.decode import decode, fit
from serving.images.preprocessing import Preprocessing
from training.data.batches import Data
from training.data.config import DataConfig
from training.data.feeds import CachedFeed
from training.data.images import Ints, Pixels
from training.data.opening import open_data
from training.data.split import Split, Subset, certifying_half
from training.exporting.samples import draw_samples

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def digits() -> Data:
    return open_data(DataConfig(dataset="digits"), batch_size=64, seed=0, image_size=8)


def pixels(samples: Samples, spec: Preprocessing) -> Pixels:
    return np.stack([decode(image, spec, 10**6) for image in samples.images])


def drawn(data: Data, count: int) -> Samples:
    samples = draw_samples(data, count)
    assert samples is not None
    return samples


def test_they_are_images_that_thresholds_are_fitted_on_to_the_pixel(digits: Data) -> None:
    samples = drawn(digits, 20)
    validation = np.concatenate([batch.images.numpy() for batch in digits.validation()])
    labels = digits.labels("validation")
    kept = certifying_half(len(labels), digits.split.seed)
    for image, label in zip(pixels(samples, digits.spec), samples.labels or (), strict=True):
        (place,) = np.flatnonzero((validation == image).all((1, 2, 3)))
        assert not kept[place]
        assert labels[place] == label


def test_one_of_each_class_comes_before_a_second(digits: Data) -> None:
    labels = drawn(digits, 15).labels or ()
    assert sorted(labels[:10]) == list(range(10))
    assert len(set(labels[10:])) == 5
    assert list(labels[:10]) != list(range(10))


def test_a_draw_is_the_same_again_and_none_is_none(digits: Data) -> None:
    assert drawn(digits, 5) == drawn(digits, 5)
    assert draw_samples(digits, 0) is None


def test_the_own_answers_of_a_network_are_no_true_classes(digits: Data) -> None:
    samples = draw_samples(digits, 3, labelled=False)
    assert samples is not None
    assert samples.labels is None


def made(
    spec: Preprocessing, paint: Callable[[], Image.Image], count: int = 6
) -> tuple[Data, list[Image.Image]]:
    """Data of pictures that are painted when they are asked for."""
    pictures = [paint() for _ in range(count)]

    def reread(name: str, numbers: Ints, own: Preprocessing) -> Pixels:
        return np.stack([np.asarray(fit(pictures[number], own)) for number in numbers])

    labels, rows = np.zeros(count, np.int64), np.arange(count, dtype=np.int64)
    subset = Subset("validation", rows)
    data = Data(
        name="painted",
        classes=("one", "two"),
        split=Split(subset, subset, subset, "", 0),
        labels={"validation": labels},
        spec=spec,
        augment="none",
        batch_size=2,
        seed=0,
        feed=lambda name: CachedFeed(reread(name, rows, spec), labels, torch.device("cpu")),
        reread=reread,
    )
    return data, pictures


def test_of_a_cropped_image_more_is_kept_so_that_the_server_crops_it_in_the_same_way() -> None:
    spec = Preprocessing(height=28, width=28, resize=32)
    data, _ = made(spec, lambda: Image.effect_noise((80, 60), 60).convert("RGB"))
    samples = drawn(data, 3)
    validation = np.concatenate([batch.images.numpy() for batch in data.validation()]).astype(int)
    for image in pixels(samples, spec):
        nearest = min(np.abs(validation - image).max(axis=(1, 2, 3)))
        assert nearest <= 1


def test_what_is_too_large_as_png_comes_as_jpeg_and_as_much_of_it_as_fits() -> None:
    spec = Preprocessing(height=224, width=224, resize=256)
    data, _ = made(spec, lambda: Image.effect_noise((300, 300), 90).convert("RGB"), 16)
    said: list[str] = []
    samples = draw_samples(data, 16, tell=said.append)
    assert samples is not None
    assert samples.media_type(0) == "image/jpeg"
    assert 4 < len(samples.images) < 16
    assert said == [
        f"{len(samples.images)} samples instead of 16: there are no more, or more would be too large"
    ]
    packed = samples.to_bytes()
    assert len(packed) <= MAX_BYTES
    assert Samples.from_bytes(packed, 2, spec) == samples


def test_images_that_are_larger_than_all_may_be_are_left_out(tmp_path: Path) -> None:
    data, _ = made(Preprocessing(height=4096, width=4096, resize=4100), lambda: Image.new("RGB", (2, 2)))
    said: list[str] = []
    assert draw_samples(data, 2, tell=said.append) is None
    assert said[0].startswith("0 samples instead of 2")
