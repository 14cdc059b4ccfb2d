"""Which images train heads, which calibrate and which judge: never the same ones."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch

from serving.bundle import Preprocessing
from serving.engine.sessions import cores
from training.adopting.config import AdoptingConfig
from training.calibration.collect import Labels
from training.calibration.recalibrate import class_indices
from training.data.batches import Data
from training.data.columns import UNLABELLED
from training.data.feeds import Batch, CachedFeed, Draw, Feed
from training.data.images import Progress, Statistics, channel_statistics, decode
from training.data.opening import CACHE_BYTES
from training.data.seeds import generator
from training.data.source import Part, Source, load_source
from training.data.split import Split, Subset, fingerprint
from training.data.streaming import STATISTICS_IMAGES
from training.data.unlabelled import load_images
from training.errors import ConfigError

LARGEST_DRAW = 5_000
"""Images that are drawn from those of the heads to calibrate on, where none were given, at most."""

BATCH_SIZE = 64
_PIECE = 16


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images of one part of a data set.

    Args:
        data_set: its name.
        classes: its class names in its own order; () where it has no labels.
        part: where the images are.
        rows: int64 [n], which ones.
    """

    data_set: str
    classes: tuple[str, ...]
    part: Part
    rows: Labels

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> Labels:
        """Return the labels of the rows, int64 [n]."""
        return self.part.labels[self.rows]

    @property
    def labelled(self) -> bool:
        """Say whether every image has a label."""
        return bool(self.classes) and not (self.labels == UNLABELLED).any()

    def in_order_of(self, names: Sequence[str]) -> "Pictures":
        """Return the same images, their labels as indices into `names`.

        Raises:
            DataError: a class that is not among these.
        """
        if not self.labelled:
            return self
        to_class = class_indices(self.data_set, self.classes, names)
        labels = np.where(self.part.labels == UNLABELLED, UNLABELLED, to_class[self.part.labels])
        return replace(self, classes=tuple(names), part=replace(self.part, labels=labels))

    def with_labels(self, labels: Labels) -> "Pictures":
        """Return the same images with other labels, int64 [n]."""
        every = self.part.labels.copy()
        every[self.rows] = labels
        return replace(self, part=replace(self.part, labels=every))

    def some(self, count: int, seed: int, purpose: str) -> "Pictures":
        """Return `count` of the images at most, drawn at random, in stored order."""
        if len(self) <= count:
            return self
        drawn = generator(seed, "adopt", purpose).permutation(len(self))[:count]
        return replace(self, rows=self.rows[np.sort(drawn)])

    def without(self, other: "Pictures") -> "Pictures":
        """Return the images that are not among others of the same part."""
        return replace(self, rows=np.setdiff1d(self.rows, other.rows, assume_unique=True))


@dataclass(frozen=True)
class Opened:
    """All images of one adoption.

    Args:
        train: heads learn from these, and int8 takes its ranges.
        calibrate: thresholds are fitted on these.
        test: nothing is; None where none were given.
        drawn: the calibration images were drawn from those that `--dataset` calls training images.
    """

    train: Pictures
    calibrate: Pictures
    test: Pictures | None
    drawn: bool

    def in_order_of(self, names: Sequence[str]) -> "Opened":
        """Return the same images, their labels as indices into `names`.

        Raises:
            DataError: a class that is not among these.
        """
        return replace(
            self,
            train=self.train.in_order_of(names),
            calibrate=self.calibrate.in_order_of(names),
            test=self.test and self.test.in_order_of(names),
        )


def open_images(config: AdoptingConfig, *, trains: bool) -> Opened:
    """Open the data sets that the settings name and divide their images, without decoding any.

    Args:
        config: the settings.
        trains: heads will be trained, so that not all images of `--dataset` may calibrate.

    Raises:
        ConfigError: labels are needed and not there.
        DataError: a data set cannot be found or read.
    """
    source = _load(config.dataset, config)
    train, drawn = _pictures(source, "train"), False
    if config.calibrate_on is not None:
        calibrate = _pictures(_load(config.calibrate_on, config), *_UNSEEN)
    elif "validation" in source.parts or "test" in source.parts:
        calibrate = _pictures(source, *_UNSEEN)
    elif trains:
        calibrate, drawn = train.some(min(len(train) // 2, LARGEST_DRAW), config.seed, "calibrate"), True
        train = train.without(calibrate)
    else:
        calibrate, drawn = train, True
    if config.truth == "labels" and not calibrate.labelled:
        raise ConfigError(
            f"{calibrate.data_set} has no labels: give labelled images by --calibrate-on, or --truth own to "
            "hold exits against the full network's own answers"
        )
    test = None
    if config.test_dataset is not None:
        labelled = load_source(config.test_dataset, config.image_column, config.label_column)
        test = _pictures(labelled, "test", "validation", "train")
    return Opened(train, calibrate.some(config.limit, config.seed, "limit"), test, drawn)


def as_data(
    train: Pictures,
    calibrate: Pictures,
    spec: Preprocessing,
    classes: tuple[str, ...],
    seed: int,
    progress: Progress | None = None,
) -> Data:
    """Return images as exporting takes them: the heads' for training, the others for validation."""
    parts = {"train": train, "calibration": calibrate}
    labels = {name: pictures.part.labels for name, pictures in parts.items()}
    split = Split(
        Subset("train", train.rows),
        Subset("calibration", calibrate.rows),
        Subset("calibration", calibrate.rows[:0]),
        fingerprint(labels, classes),
        seed,
    )
    return Data(
        name=calibrate.data_set,
        classes=classes,
        split=split,
        labels=labels,
        spec=spec,
        augment="none",
        batch_size=BATCH_SIZE,
        seed=seed,
        # Of the images for training few are asked for, once: int8 takes its ranges from them.
        feed=lambda name: ReadFeed(train, spec) if name == "train" else feed_of(calibrate, spec, progress),
        reread=lambda name, numbers, own: decode(
            (pictures := train if name == "train" else calibrate).part, pictures.rows[numbers], own
        ),
    )


def feed_of(pictures: Pictures, spec: Preprocessing, progress: Progress | None = None) -> Feed:
    """Return what feeds images: decoded once where they fit into memory, read again every time where not."""
    if 3 * len(pictures) * spec.height * spec.width <= CACHE_BYTES:
        images = decode(pictures.part, pictures.rows, spec, progress)
        return CachedFeed(images, pictures.labels, torch.device("cpu"))
    return ReadFeed(pictures, spec)


class ReadFeed:
    """Plain images, read and decoded by threads of this process whenever they are asked for.

    Args:
        pictures: which images.
        spec: their preprocessing.
    """

    def __init__(self, pictures: Pictures, spec: Preprocessing) -> None:
        self._pictures, self._spec = pictures, spec

    def batches(self, groups: Sequence[Labels], draw: Draw | None) -> Iterator[Batch]:
        """Yield a batch per group of image numbers.

        Raises:
            DataError: an image cannot be read.
        """
        part = self._pictures.part
        with ThreadPoolExecutor(cores()) as pool:
            for group in groups:
                rows = self._pictures.rows[group]
                pieces = [rows[start : start + _PIECE] for start in range(0, len(rows), _PIECE)]
                images = np.concatenate(list(pool.map(lambda piece: decode(part, piece, self._spec), pieces)))
                yield Batch(torch.from_numpy(images), torch.from_numpy(part.labels[rows]))

    def statistics(self, seed: int) -> Statistics:
        """Return channel mean and standard deviation of a seeded sample, on the scale 0 … 1."""
        sample = self._pictures.some(STATISTICS_IMAGES, seed, "statistics")
        return channel_statistics([decode(sample.part, sample.rows, self._spec)])


_UNSEEN = ("validation", "test", "train")


def _load(dataset: str, config: AdoptingConfig) -> Source:
    load = load_images if config.truth == "own" else load_source
    return load(dataset, config.image_column, config.label_column)


def _pictures(source: Source, *wanted: str) -> Pictures:
    part = source.parts[next(name for name in wanted if name in source.parts)]
    return Pictures(source.name, source.classes, part, np.arange(len(part.labels), dtype=np.int64))
