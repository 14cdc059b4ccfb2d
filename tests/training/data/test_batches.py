from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from serving.images.preprocessing import Preprocessing
from tests.training.data.conftest import Picture
from training.data.batches import Data, grouped
from training.data.config import DataConfig
from training.data.feeds import Batch
from training.data.opening import open_data, preprocessing
from training.data.source import load_source
from training.data.split import Split
from training.errors import ConfigError, DataError


def opened(dataset: str | Path, *, seed: int = 0, streamed: bool = False, **settings: object) -> Data:
    config = DataConfig.model_validate({"dataset": str(dataset), "workers": 0, **settings})
    cache_bytes = 0 if streamed else 1 << 30
    return open_data(config, batch_size=8, seed=seed, image_size=16, cache_bytes=cache_bytes)


def all_of(batches: Iterable[Batch]) -> tuple[torch.Tensor, torch.Tensor]:
    listed = list(batches)
    return torch.cat([batch.images for batch in listed]), torch.cat([batch.labels for batch in listed])


def assert_same(one: Iterable[Batch], two: Iterable[Batch]) -> None:
    for first, second in zip(one, two, strict=True):
        assert torch.equal(first.images, second.images)
        assert torch.equal(first.labels, second.labels)


@pytest.mark.parametrize("streamed", [False, True])
def test_batches_depend_on_seed_epoch_and_phase_alone(image_folder: Path, streamed: bool) -> None:
    fresh, used = (opened(image_folder, streamed=streamed) for _ in range(2))
    list(used.train(0, "exit-1"))
    next(used.train(4, "exit-2"))
    torch.rand(3)
    state = torch.random.get_rng_state()
    assert_same(fresh.train(1, "fusion"), used.train(1, "fusion"))
    assert torch.equal(torch.random.get_rng_state(), state)
    reference = all_of(fresh.train(1, "fusion"))[0]
    for other in (fresh.train(2, "fusion"), fresh.train(1, "joint")):
        assert not torch.equal(all_of(other)[0], reference)
    assert not torch.equal(
        all_of(opened(image_folder, seed=1, streamed=streamed).train(1, "fusion"))[0], reference
    )


def test_workers_change_nothing(image_folder: Path) -> None:
    alone, helped = (opened(image_folder, streamed=True, workers=workers) for workers in (0, 2))
    assert_same(alone.train(0, "joint"), helped.train(0, "joint"))
    assert_same(alone.validation(), helped.validation())


def test_plain_images_are_those_that_are_served(image_folder: Path) -> None:
    cached, streamed = opened(image_folder), opened(image_folder, streamed=True)
    assert_same(cached.test(), streamed.test())
    assert_same(cached.validation(), streamed.validation())
    images, labels = all_of(cached.validation())
    assert images.dtype == torch.uint8
    assert images.shape == (3, 16, 16, 3)
    assert np.array_equal(labels, cached.labels("validation"))
    assert_same(cached.validation(), cached.validation())


def test_an_epoch_holds_every_training_image_once(image_folder: Path) -> None:
    data = opened(image_folder, augment="none")
    images, labels = all_of(data.train(3, "joint"))
    plain = {image.numpy().tobytes() for image in images}
    assert len(plain) == len(images) == len(data.split.train) == 21
    assert sorted(labels.tolist()) == sorted(data.labels("train").tolist())


def test_augmentation_belongs_to_the_image_not_to_its_batch(image_folder: Path) -> None:
    config = DataConfig(dataset=str(image_folder), workers=0)
    small, large = (open_data(config, batch_size=size, seed=0, image_size=16) for size in (3, 21))
    assert torch.equal(all_of(small.train(0, "joint"))[0], all_of(large.train(0, "joint"))[0])


def test_a_share_is_the_first_part_of_the_order(image_folder: Path) -> None:
    data = opened(image_folder)
    whole, half = all_of(data.train(0, "statistics"))[0], all_of(data.train(0, "statistics", 0.5))[0]
    assert len(half) == round(0.5 * 21)
    assert torch.equal(whole[: len(half)], half)
    assert data.steps(0.5) == len(list(data.train(0, "statistics", 0.5))) == 2
    assert data.steps() == 3
    assert data.steps(0.001) == 1
    assert len(next(data.train(0, "statistics", 0.001)).labels) == 2


@pytest.mark.parametrize("streamed", [False, True])
def test_parts_of_a_pass_add_up_to_it(image_folder: Path, streamed: bool) -> None:
    data = opened(image_folder, streamed=streamed)

    parts = chain(data.train(2, "exit 1", part=slice(0, 2)), data.train(2, "exit 1", part=slice(2, 3)))

    assert_same(parts, data.train(2, "exit 1"))


def test_a_last_batch_of_one_is_left_out_of_training_only() -> None:
    order = np.arange(9)
    assert [len(group) for group in grouped(order, 4, least=2)] == [4, 4]
    assert [len(group) for group in grouped(order, 4, least=1)] == [4, 4, 1]
    assert [len(group) for group in grouped(order[:1], 4, least=2)] == [1]
    assert [len(group) for group in grouped(order[:2], 1, least=2)] == [1, 1]


def test_large_images_are_cropped_at_random(image_folder: Path) -> None:
    data = opened(image_folder, streamed=True)
    plain = opened(image_folder, streamed=True, augment="none")
    images, reference = all_of(data.train(0, "joint"))[0], all_of(plain.train(0, "joint"))[0]
    assert images.shape == reference.shape
    assert all(not torch.equal(*pair) for pair in zip(images, reference, strict=True))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("alternate", [False, True])
def test_mirrors_alternate(tmp_path: Path, streamed: bool, alternate: bool) -> None:
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        for number in range(20):
            darker = np.linspace(255, number, 40, dtype=np.uint8)  # from left to right
            Image.fromarray(np.tile(darker, (30, 1))).save(tmp_path / name / f"{number}.png")
    data = opened(tmp_path, streamed=streamed, augment="crop-flip", alternate_flip=alternate)

    even, odd, later = (mirrors_of(data, epoch) for epoch in (0, 1, 2))

    assert 0 < int(even.sum()) < len(even)
    assert torch.equal(odd, ~even) == torch.equal(later, even) == alternate


def mirrors_of(data: Data, epoch: int) -> torch.Tensor:
    """Tell which images grow brighter to the right, bool [N] by sample number."""
    mirrored = torch.zeros(len(data.split.train), dtype=torch.bool)
    for samples, batch in zip(data.order(epoch, "joint"), data.train(epoch, "joint"), strict=True):
        columns = batch.images.double().mean((1, 3))
        mirrored[torch.from_numpy(samples)] = columns[:, -4:].mean(1) > columns[:, :4].mean(1)
    return mirrored


def test_a_shift_is_as_wide_as_was_asked(image_folder: Path) -> None:
    still = opened(image_folder, augment="crop", max_shift=0)
    plain = opened(image_folder, augment="none")

    assert_same(still.train(0, "joint"), plain.train(0, "joint"))
    with pytest.raises(ConfigError, match="--max-shift 16: expected less than the images' side of 16 pixels"):
        opened(image_folder, max_shift=16)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_ends_the_stream_by_name(image_folder: Path, workers: int) -> None:
    (image_folder / "ant" / "0.png").write_bytes(b"no image")
    data = opened(image_folder, streamed=True, workers=workers)
    everything = (data.train(0, "joint"), data.validation(), data.test())
    with pytest.raises(
        DataError, match=r"^pictures train: the image in row 0 \(.*ant/0\.png\) cannot be read"
    ):
        list(chain.from_iterable(everything))


def test_statistics_are_those_of_the_plain_training_images(image_folder: Path) -> None:
    cached, streamed = opened(image_folder), opened(image_folder, streamed=True)
    images = all_of(opened(image_folder, augment="none").train(0, "joint"))[0].double() / 255
    assert cached.mean == streamed.mean == pytest.approx(images.mean((0, 1, 2)).tolist())
    assert cached.std == streamed.std
    assert cached.std == pytest.approx(images.std((0, 1, 2), correction=0).tolist())
    assert opened(image_folder, seed=5, streamed=True).mean == streamed.mean


def test_a_stored_split_is_used_and_checked(image_folder: Path, picture: Picture, tmp_path: Path) -> None:
    config = DataConfig(dataset=str(image_folder), split_seed=3)
    open_data(config, batch_size=8, seed=0).split.save(tmp_path / "split.npz")
    split = Split.load(tmp_path / "split.npz")
    again = open_data(config.model_copy(update={"split_seed": 9}), batch_size=8, seed=0, split=split)
    assert again.split is split
    picture(999).save(image_folder / "ant" / "new.png")
    with pytest.raises(DataError, match="have changed since the stored split"):
        open_data(config, batch_size=8, seed=0, split=split)


def test_digits_are_enlarged_and_never_mirrored() -> None:
    data = open_data(DataConfig(dataset="digits", train_limit=100), batch_size=50, seed=0)
    assert (data.augment, data.steps(), data.classes) == ("crop", 2, tuple("0123456789"))
    assert (len(data.split.validation), len(data.split.test)) == (180, 359)
    assert next(data.train(0, "joint")).images.shape == (50, 32, 32, 3)


def test_nothing_is_decoded_before_it_is_needed(image_folder: Path) -> None:
    seen: list[str] = []
    config = DataConfig(dataset=str(image_folder))
    data = open_data(config, batch_size=8, seed=0, progress=lambda what, done, total: seen.append(what))
    assert seen == []
    list(data.validation())
    assert seen == ["decoding pictures train"]
    list(data.validation())
    assert len(seen) == 1


def test_a_bundles_own_preprocessing_is_taken_as_it_is(image_folder: Path) -> None:
    spec = Preprocessing(height=10, width=20, filter="nearest")
    data = open_data(DataConfig(dataset=str(image_folder)), batch_size=8, seed=0, spec=spec)
    assert data.spec is spec
    assert next(data.test()).images.shape == (6, 10, 20, 3)


def test_larger_images_lose_the_usual_margin() -> None:
    assert preprocessing(32) == Preprocessing(height=32, width=32, resize=32)
    assert preprocessing(224) == Preprocessing(height=224, width=224, resize=256)


def test_real_cifar_in_batches(cifar_root: Path) -> None:
    config = DataConfig(dataset=str(cifar_root / "cifar10"), train_limit=2000)
    data = open_data(config, batch_size=256, seed=0)
    assert (len(data.split.train), len(data.split.validation), len(data.split.test)) == (2000, 5000, 10_000)
    source = load_source(str(cifar_root / "cifar10"))
    for name in ("train", "validation", "test"):
        assert len(set(np.bincount(data.labels(name)).tolist())) == 1
    images, labels = all_of(data.validation())
    first = data.split.validation.rows[0]
    assert labels[0] == source.parts["train"].labels[first]
    assert images.shape == (5000, 32, 32, 3)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_training_sample_is_plain_and_drawn_by_the_splits_seed(image_folder: Path, streamed: bool) -> None:
    data = opened(image_folder, streamed=streamed)
    images, labels = all_of(data.training_sample(10))
    assert len(images) == 10
    assert_same(data.training_sample(10), opened(image_folder, seed=5, streamed=streamed).training_sample(10))
    every, _ = all_of(data.training_sample(10_000))
    assert len(every) == len(data.split.train)
    plain = {image.tobytes() for image in every.numpy()}
    assert {image.tobytes() for image in images.numpy()} <= plain
    assert not torch.equal(labels, labels.sort().values)
