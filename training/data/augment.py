"""Augmentation of a whole batch of small images at once: a random crop of the padded image, and a mirror.

The pictures are shifted by up to an eighth of their side (4 pixels of 32, as is usual on CIFAR) and what
comes in at the border is black, which is what padding with zeros before normalising means, or the picture's
reflection. Mirrors are drawn anew every epoch, or alternate: of two epochs, an image is mirrored in one.

Source of the reflection and of alternating mirrors: Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single
GPU", arXiv:2404.00498.

The augmentation of an image depends only on the seed, the epoch, the phase and the image's own number: not on
the batch it is in, on its neighbours, on the device, or on how many ranks share the work.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from training.data.config import Border
from training.data.seeds import generator


class Shifts(NamedTuple):
    """One shift and mirror per image.

    Args:
        down: int64 [n], first row of the crop in the padded image, in pixels.
        right: int64 [n], first column of the crop in the padded image, in pixels.
        mirror: bool [n], whether left and right are swapped.
    """

    down: Tensor
    right: Tensor
    mirror: Tensor

    def at(self, samples: Tensor) -> "Shifts":
        """Return the rows of `samples` (int64 [n])."""
        return Shifts(self.down[samples], self.right[samples], self.mirror[samples])

    def to(self, device: torch.device) -> "Shifts":
        """Return the same on `device`."""
        return Shifts(self.down.to(device), self.right.to(device), self.mirror.to(device))


def padding_of(side: int) -> int:
    """Return how far an image of `side` pixels is shifted at most, in pixels."""
    return max(1, side // 8)


def draw_shifts(count: int, padding: int, mirror: bool, rng: np.random.Generator) -> Shifts:
    """Draw the shifts of one epoch: a row per image of the training part.

    Args:
        count: images in the training part.
        padding: black border around each image, in pixels.
        mirror: whether half of the images are mirrored, or none.
        rng: decides.
    """
    offsets = rng.integers(0, 2 * padding + 1, size=(2, count))
    flips = rng.random(count) < 0.5 if mirror else np.zeros(count, dtype=np.bool_)
    return Shifts(torch.from_numpy(offsets[0]), torch.from_numpy(offsets[1]), torch.from_numpy(flips))


def alternating_mirrors(count: int, seed: int, epoch: int, phase: str) -> Tensor:
    """Return which images are mirrored, bool [n]: a random half in even epochs, the other half in odd ones.

    Args:
        count: images in the training part.
        seed: the training seed.
        epoch: from 0.
        phase: name of the pass; each has halves of its own.
    """
    half = generator(seed, "mirrors", phase).random(count) < 0.5
    return torch.from_numpy(half ^ bool(epoch % 2))


def shift(images: Tensor, shifts: Shifts, padding: int, border: Border = "black") -> Tensor:
    """Crop each image out of its padded self, and mirror it where that was drawn.

    Args:
        images: uint8 [n, H, W, 3].
        shifts: a row per image; `padding` down and right, not mirrored, leaves an image as it is.
        padding: the border, in pixels; less than a side where it is a reflection.
        border: what it shows; a reflection does not repeat the outermost pixels.

    Returns:
        uint8 [n, H, W, 3], on the images' device.
    """
    count, height, width, _ = images.shape
    rows = torch.arange(height, device=images.device) + shifts.down[:, None] - padding  # [n, H]
    columns = torch.arange(width, device=images.device).expand(count, width)
    columns = torch.where(shifts.mirror[:, None], width - 1 - columns, columns)
    columns = columns + shifts.right[:, None] - padding  # [n, W]
    image = torch.arange(count, device=images.device)[:, None, None]
    if border == "reflect":
        return images[image, _reflected(rows, height)[:, :, None], _reflected(columns, width)[:, None, :]]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    picked = images[image, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]]
    return picked * inside[..., None]


def _reflected(places: Tensor, size: int) -> Tensor:
    """Return indices in 0..size−1: −1 becomes 1, and size becomes size − 2."""
    return size - 1 - (size - 1 - places.abs()).abs()
