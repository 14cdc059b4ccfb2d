"""From settings to data: source, split, and the way its images are fed."""

from collections.abc import Sequence

import torch

from serving.images.preprocessing import Preprocessing
from training.data.batches import Data
from training.data.config import Augment, DataConfig
from training.data.duplicates import tell_duplicates
from training.data.feeds import CachedFeed, Feed
from training.data.images import Progress, decode
from training.data.source import Source, load_source
from training.data.split import Split, make_split
from training.data.streaming import StreamedFeed
from training.errors import ConfigError, DataError

CACHE_BYTES = 3 << 29
"""Decoded images up to this size in all (1.5 GiB) are kept on the device."""

CACHE_SIDE = 96
"""Larger images are streamed even when they are few: they train on random resized crops of the originals."""

IMAGE_SIZE = 32
"""Side of the images, in pixels, where neither the settings nor the caller name one."""

AUGMENT: dict[str, Augment] = {"digits": "crop", "ylecun/mnist": "crop", "ufldl-stanford/svhn": "crop"}
"""Data sets whose images mean something else when mirrored; all others get "crop-flip"."""


def open_data(
    config: DataConfig,
    *,
    batch_size: int,
    seed: int,
    device: torch.device | str = "cpu",
    image_size: int | None = None,
    spec: Preprocessing | None = None,
    split: Split | None = None,
    classes: Sequence[str] | None = None,
    progress: Progress | None = None,
    cache_bytes: int = CACHE_BYTES,
    rank: int = 0,
    ranks: int = 1,
) -> Data:
    """Open a data set, divide it, and decide how its images are fed.

    Args:
        config: the data settings.
        batch_size: images per batch.
        seed: the training seed.
        device: where batches are wanted.
        image_size: side of the images in pixels; None takes the settings'.
        spec: preprocessing to use as it is, such as that of an existing bundle; None makes it of the size.
        split: of the run to go on with or to judge; None draws one.
        classes: which that run was trained on, where the data set must have just these.
        progress: called with the progress of decoding.
        cache_bytes: decoded images up to this size in all are kept on the device.
        rank: this process's number among those that share every training batch.
        ranks: how many of them there are.

    Raises:
        ConfigError: settings that do not fit the data set, or the number of ranks.
        DataError: the data set cannot be used, or is not the one that `split` was drawn for.
    """
    if batch_size % ranks or batch_size < 2 * ranks:
        raise ConfigError(
            f"--batch-size {batch_size}: expected a multiple of the {ranks} processes that share a batch, "
            "with at least 2 images for each"
        )
    source = load_source(config.dataset, config.image_column, config.label_column)
    if classes is not None and tuple(classes) != source.classes:
        differing = ", ".join(sorted(set(classes) ^ set(source.classes))[:5]) or "none, but the order differs"
        raise DataError(
            f"data set {source.name}: expected the {len(classes)} classes that the run was trained on, "
            f"found {len(source.classes)}; not in both: {differing}. "
            "Give the run's data set, or start a new run"
        )
    if split is None:
        split = _drawn(config, source)
        tell_duplicates(source.parts, split)
    else:
        split.check(source.name, source.labels, source.classes)
    spec = spec or preprocessing(image_size or config.image_size or IMAGE_SIZE)
    if config.max_shift is not None and config.max_shift >= min(spec.height, spec.width):
        raise ConfigError(
            f"--max-shift {config.max_shift}: expected less than the images' side of "
            f"{min(spec.height, spec.width)} pixels"
        )
    where = torch.device(device)
    subsets = {"train": split.train, "validation": split.validation, "test": split.test}
    pixels = sum(map(len, subsets.values())) * spec.height * spec.width
    small = max(spec.height, spec.width) <= CACHE_SIDE and 3 * pixels <= cache_bytes

    def feed(name: str) -> Feed:
        part, rows = source.parts[subsets[name].part], subsets[name].rows
        if small:
            return CachedFeed(decode(part, rows, spec, progress), part.labels[rows], where)
        return StreamedFeed(part, rows, spec, where, config.workers)

    return Data(
        name=source.name,
        classes=source.classes,
        split=split,
        labels=source.labels,
        spec=spec,
        augment=config.augment or AUGMENT.get(source.name, "crop-flip"),
        batch_size=batch_size,
        seed=seed,
        feed=feed,
        reread=lambda name, numbers, own: decode(
            source.parts[subsets[name].part], subsets[name].rows[numbers], own
        ),
        rank=rank,
        ranks=ranks,
        alternate_flip=config.alternate_flip,
        border=config.border,
        max_shift=config.max_shift,
    )


def open_split(config: DataConfig) -> tuple[tuple[str, ...], Split]:
    """Return a data set's class names and the split that a new run would have, without opening an image.

    Raises:
        ConfigError, DataError: as `open_data`.
    """
    source = load_source(config.dataset, config.image_column, config.label_column)
    return source.classes, _drawn(config, source)


def _drawn(config: DataConfig, source: Source) -> Split:
    return make_split(
        source.labels,
        source.classes,
        seed=config.split_seed,
        validation_share=config.validation_share,
        train_limit=config.train_limit,
        validation_from=config.validation_from,
    )


def preprocessing(image_size: int) -> Preprocessing:
    """Return how images come to `image_size` pixels a side when they are not augmented.

    Small ones keep their whole shorter side; from `CACHE_SIDE` up the usual margin of 8/7 is cropped away
    (224 out of 256), since training sees crops of the originals.
    """
    resize = image_size if image_size <= CACHE_SIDE else round(image_size * 8 / 7)
    return Preprocessing(height=image_size, width=image_size, resize=resize)
