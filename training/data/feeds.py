"""Feeds of batches for a run, and the feed of small images: one tensor on the device."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from training.data.augment import alternating_mirrors, draw_shifts, padding_of, shift
from training.data.config import Augment, Border
from training.data.images import Ints, Pixels, Statistics, channel_statistics
from training.data.seeds import generator


class Batch(NamedTuple):
    """Images and labels on the device.

    Args:
        images: uint8 [n, H, W, 3].
        labels: int64 [n].
    """

    images: Tensor
    labels: Tensor


class Draw(NamedTuple):
    """Keys of one pass's augmentation, besides each image's own number.

    Args:
        augment: what may be done to an image.
        seed: the training seed.
        epoch: the epoch, from 0.
        phase: the name of the pass within the epoch.
        alternate_flip: mirror, of two epochs, in one.
        border: what comes in where a small image is shifted.
        max_shift: pixels that a small image is shifted at most; None for an eighth of its side.
    """

    augment: Augment
    seed: int
    epoch: int
    phase: str
    alternate_flip: bool = False
    border: Border = "black"
    max_shift: int | None = None

    @property
    def mirrors(self) -> bool:
        """Whether images are mirrored."""
        return self.augment == "crop-flip"


class Feed(Protocol):
    """The images of one subset of the split."""

    def batches(self, groups: Sequence[Ints], draw: Draw | None) -> Iterator[Batch]:
        """Yield a batch per group of sample numbers; augmented as `draw` says, or plain without it."""

    def statistics(self, seed: int) -> Statistics:
        """Return channel mean and standard deviation of the plain images, on the scale 0 … 1."""


class CachedFeed:
    """Small images: decoded once, kept as one tensor on the device, augmented there by the batch.

    Args:
        images: uint8 [N, H, W, 3].
        labels: int64 [N].
        device: where batches are wanted.
    """

    def __init__(self, images: Pixels, labels: Ints, device: torch.device) -> None:
        self._images = torch.from_numpy(images).to(device)
        self._labels = torch.from_numpy(labels).to(device)
        self._device = device

    def batches(self, groups: Sequence[Ints], draw: Draw | None) -> Iterator[Batch]:
        """Yield a batch per group of sample numbers; augmented as `draw` says, or plain without it."""
        padding, shifts = 0, None
        if draw is not None and draw.augment != "none":
            side, count = min(self._images.shape[1:3]), len(self._images)
            padding = padding_of(side) if draw.max_shift is None else draw.max_shift
            rng = generator(draw.seed, "augment", draw.epoch, draw.phase)
            shifts = draw_shifts(count, padding, draw.mirrors, rng)
            if draw.mirrors and draw.alternate_flip:
                mirror = alternating_mirrors(count, draw.seed, draw.epoch, draw.phase)
                shifts = shifts._replace(mirror=mirror)
            shifts = shifts.to(self._device)
        for group in groups:
            samples = torch.from_numpy(group).to(self._device)
            images = self._images[samples]
            if draw is not None and shifts is not None:
                images = shift(images, shifts.at(samples), padding, draw.border)
            yield Batch(images, self._labels[samples])

    def statistics(self, seed: int) -> Statistics:
        """Return channel mean and standard deviation of all images; the seed is not needed."""
        images = self._images
        starts = range(0, len(images), 1024)
        return channel_statistics(images[start : start + 1024].cpu().numpy() for start in starts)
