"""A run's view of its data: classes, statistics, and batches keyed on seed, epoch and phase alone."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

import numpy as np

from serving.images.preprocessing import Preprocessing
from training.data.config import Augment, Border
from training.data.feeds import Batch, Draw, Feed
from training.data.images import Ints, Pixels, Statistics
from training.data.seeds import generator
from training.data.split import Split, certifying_half


class Data:
    """A data set as one run uses it; nothing is decoded before it is first needed.

    Args:
        name: the data set's name.
        classes: class names, in label order.
        split: which rows are trained on, validated on and tested on.
        labels: int64 [N] per part of the source.
        spec: size, crop and filter of the images.
        augment: what is done to training images.
        batch_size: images per batch.
        seed: the training seed, of order and augmentation.
        feed: makes the feed of "train", "validation" or "test"; called once for each at most.
        reread: decodes images of one of them, by their numbers there, as another spec says.
        rank: this process's number among those that share every training batch.
        ranks: how many of them there are.
        alternate_flip: mirror a training image in one of two epochs.
        border: what comes in where a small training image is shifted.
        max_shift: pixels that it is shifted at most; None for an eighth of its side.
    """

    def __init__(
        self,
        *,
        name: str,
        classes: tuple[str, ...],
        split: Split,
        labels: Mapping[str, Ints],
        spec: Preprocessing,
        augment: Augment,
        batch_size: int,
        seed: int,
        feed: Callable[[str], Feed],
        reread: Callable[[str, Ints, Preprocessing], Pixels],
        rank: int = 0,
        ranks: int = 1,
        alternate_flip: bool = False,
        border: Border = "black",
        max_shift: int | None = None,
    ) -> None:
        self.rank, self.ranks = rank, ranks
        self.name, self.classes, self.split, self.spec = name, classes, split, spec
        self.augment, self.batch_size, self.seed = augment, batch_size, seed
        self.alternate_flip, self.border, self.max_shift = alternate_flip, border, max_shift
        self._labels, self._make_feed, self._reread = labels, feed, reread
        self._feeds: dict[str, Feed] = {}

    def train(self, epoch: int, phase: str, share: float = 1.0, part: slice = slice(None)) -> Iterator[Batch]:
        """Yield augmented training batches in a shuffled order.

        Order and augmentation depend on (seed, epoch, phase) alone; a run can therefore be resumed without
        generator state, and with another number of ranks. A rank takes its slice of every batch.

        Args:
            epoch: from 0.
            phase: name of the pass within the epoch.
            share: the first part of the shuffled order that is used, in 0 … 1.
            part: which of the pass's batches; those of its parts are those of the whole.
        """
        groups = [group[self.rank :: self.ranks] for group in self.order(epoch, phase, share)[part]]
        draw = Draw(self.augment, self.seed, epoch, phase, self.alternate_flip, self.border, self.max_shift)
        return self._feed("train").batches(groups, draw)

    def order(self, epoch: int, phase: str, share: float = 1.0) -> list[Ints]:
        """Return the sample numbers of each training batch of a pass, of all ranks, int64 [≤ batch_size].

        A last batch that leaves a rank a single image is left out: BatchNorm cannot train on it. Any other
        short one is kept, but for what the ranks cannot share equally.
        """
        order = generator(self.seed, "order", epoch, phase).permutation(len(self.split.train))
        return self._shared(order[: self._count(share)])

    def steps(self, share: float = 1.0) -> int:
        """Return how many batches a training pass over `share` of the images has."""
        return len(self._shared(np.arange(self._count(share))))

    def validation(self) -> Iterator[Batch]:
        """Yield the validation images in stored order, never augmented."""
        return self._plain("validation", len(self.split.validation))

    def selection(self) -> Iterator[Batch]:
        """Yield the validation images that choices may be made on: all but the half kept for certifying."""
        kept = certifying_half(len(self.split.validation), self.split.seed)
        groups = grouped(np.flatnonzero(~kept), self.batch_size, least=1)
        return self._feed("validation").batches(groups, None)

    def test(self) -> Iterator[Batch]:
        """Yield the test images in stored order, never augmented."""
        return self._plain("test", len(self.split.test))

    def training_sample(self, count: int) -> Iterator[Batch]:
        """Yield `count` training images at most, drawn by the split's seed, never augmented."""
        order = generator(self.split.seed, "sample").permutation(len(self.split.train))[:count]
        return self._feed("train").batches(grouped(order, self.batch_size, least=1), None)

    def pictures(self, subset: str, numbers: Ints, spec: Preprocessing) -> Pixels:
        """Return images uint8 [n, H, W, 3] of "train", "validation" or "test", as another spec makes them.

        Args:
            subset: of the split.
            numbers: int64 [n], which of its images, in stored order.
            spec: size, crop and filter.

        Raises:
            DataError: an image cannot be read.
        """
        return self._reread(subset, numbers, spec)

    def labels(self, subset: str) -> Ints:
        """Return the labels of "train", "validation" or "test" in stored order, int64 [n]."""
        chosen = {"train": self.split.train, "validation": self.split.validation, "test": self.split.test}[
            subset
        ]
        return self._labels[chosen.part][chosen.rows]

    @property
    def part_labels(self) -> Mapping[str, Ints]:
        """Labels of each part as its publisher made it, int64 [N] per part."""
        return self._labels

    @property
    def mean(self) -> tuple[float, float, float]:
        """Channel means of the training images, on the scale 0 … 1."""
        return self._statistics[0]

    @property
    def std(self) -> tuple[float, float, float]:
        """Channel standard deviations of the training images, on the scale 0 … 1."""
        return self._statistics[1]

    @cached_property
    def _statistics(self) -> Statistics:
        # Keyed on the split's seed: runs that differ in their training seed alone normalise alike.
        return self._feed("train").statistics(self.split.seed)

    def _plain(self, subset: str, count: int) -> Iterator[Batch]:
        groups = grouped(np.arange(count, dtype=np.int64), self.batch_size, least=1)
        return self._feed(subset).batches(groups, None)

    def _feed(self, subset: str) -> Feed:
        if subset not in self._feeds:
            self._feeds[subset] = self._make_feed(subset)
        return self._feeds[subset]

    def _shared(self, order: Ints) -> list[Ints]:
        """Cut an order into batches that the ranks can share equally."""
        groups = grouped(order, self.batch_size, least=2 * self.ranks)
        return [group[: len(group) - len(group) % self.ranks] for group in groups]

    def _count(self, share: float) -> int:
        total = len(self.split.train)
        return min(total, max(2, round(share * total)))


def grouped(order: Ints, batch_size: int, least: int) -> list[Ints]:
    """Cut an order into batches.

    Args:
        order: int64 [N].
        batch_size: images per batch; the last one may be shorter.
        least: a shorter last batch of fewer images is left out, unless it is the only one.

    Returns:
        int64 [≤ batch_size] each.
    """
    groups = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if len(groups) > 1 and len(groups[-1]) < min(least, batch_size):
        groups.pop()
    return groups
