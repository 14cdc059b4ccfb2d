"""A convolutional head: two 3×3 convolutions at a low resolution, their average and maximum, a linear layer.

A network that was trained for its last exit alone does not lay out its early features for a linear layer: the
head has to do the work. docs/adopting.md has the figures of both kinds of head on frozen networks.
"""

from collections.abc import Sequence
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.models.multi_exit import Features

LARGEST_SIDE = 16
"""Maps are averaged to this side at most before a head convolves over them."""

_FIRST_SIDE, _SECOND_SIDE = 8, 4
_RANK = 4


def window(height: int, width: int) -> int:
    """Return the window, and stride, of the average that makes the shorter side `LARGEST_SIDE` at most."""
    return max(1, -(-min(height, width) // LARGEST_SIDE))


class ConvLayers(nn.Module):
    """The layers, on maps that are small enough.

    Args:
        shape: of the maps, [C, H, W].
        classes: how many there are.
        hidden: channels of the first convolution; the second has twice as many.
    """

    def __init__(self, shape: Sequence[int], classes: int, hidden: int) -> None:
        super().__init__()
        (first, second), _ = strides_and_places(*shape[1:])
        self.first = nn.Conv2d(shape[0], hidden, 3, first, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(hidden)
        self.second = nn.Conv2d(hidden, 2 * hidden, 3, second, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(2 * hidden)
        self.linear = nn.Linear(4 * hidden, classes)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits [N, classes] of maps [N, C, H, W]."""
        hidden = F.relu(self.first_norm(self.first(features)))
        hidden = F.relu(self.second_norm(self.second(hidden)))
        logits: Tensor = self.linear(torch.cat([hidden.mean((2, 3)), hidden.amax((2, 3))], dim=1))
        return logits


class ConvExitHead(nn.Module):
    """The head of an exit on the first of the features, square maps [N, C, H, H].

    Args:
        shape: of the maps, batch included.
        classes: how many there are.
        hidden: channels of the first convolution.
    """

    def __init__(self, shape: Sequence[int], classes: int, hidden: int) -> None:
        super().__init__()
        _, channels, height, width = shape
        pool = window(height, width)
        self.pool = nn.AvgPool2d(pool) if pool > 1 else nn.Identity()
        self.layers = ConvLayers((channels, height // pool, width // pool), classes, hidden)

    def forward(self, features: Features) -> Tensor:
        """Return logits [N, classes]."""
        logits: Tensor = self.layers(self.pool(features[0]))
        return logits


def convolvable(shape: Sequence[int]) -> bool:
    """Say whether features of this shape, batch included, are maps with places to convolve over."""
    return len(shape) == _RANK and shape[2] == shape[3] > 1


def strides_and_places(height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the strides of both convolutions, to sides of about 8 and 4, and the places that each makes.

    >>> strides_and_places(16, 16)
    ((2, 2), (64, 16))
    """
    first = _stride(min(height, width), _FIRST_SIDE)
    sides = _side(height, first), _side(width, first)
    second = _stride(min(sides), _SECOND_SIDE)
    return (first, second), (sides[0] * sides[1], _side(sides[0], second) * _side(sides[1], second))


def _stride(side: int, wanted: int) -> int:
    return max(1, ceil(side / wanted))


def _side(side: int, stride: int) -> int:
    return -(-side // stride)
