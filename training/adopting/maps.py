"""The view of a head on the tensors at a cut: a map of channels over places, or one vector.

Convolutional networks give [C, H, W], some transformers [H, W, C], others tokens [L, D] with a class token
or two in front. A convolutional head takes [C, H, W]; where there are no places, there is no map.
"""

from dataclasses import dataclass
from math import isqrt
from typing import Literal

import numpy as np

from training.adopting.assembling import Nodes
from training.models.conv_head import window

_MAP, _TOKENS = 3, 2
_EXTRA_TOKENS = (0, 1, 2, 5)  # none, class, class and distillation, class and four registers


@dataclass(frozen=True)
class View:
    """The view on a tensor.

    Args:
        kind: what it is.
        channels: of the map, or the length of the vector.
        height: of the map before it is pooled; 1 for a vector.
        width: likewise.
        extra: tokens in front that are no places.
        pool: side of the window, and its stride, that the map is averaged over.
    """

    kind: Literal["planes", "channels-last", "tokens", "vector"]
    channels: int
    height: int = 1
    width: int = 1
    extra: int = 0
    pool: int = 1

    @property
    def is_map(self) -> bool:
        """Say whether there are places to convolve over."""
        return self.height > 1 and self.width > 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Return what a head reads, [C, H, W]; a vector is a map of one place."""
        return (self.channels, self.height // self.pool, self.width // self.pool)

    def nodes(self, read: str, made: str) -> Nodes:
        """Return the operators from a tensor to what a head reads, [N, C, H, W]."""
        result = Nodes()
        if self.kind == "tokens" and self.extra:
            read = result.add(
                "Slice", read, f"{made}.places", np.array([self.extra]), np.array([2**31 - 1]), np.array([1])
            )
        if self.kind == "tokens":
            read = result.add("Transpose", read, f"{made}.turned", perm=[0, 2, 1])
        if self.kind == "channels-last":
            read = result.add("Transpose", read, f"{made}.turned", perm=[0, 3, 1, 2])
        if self.kind in ("tokens", "vector"):
            shape = np.array([0, self.channels, self.height, self.width], np.int64)
            read = result.add("Reshape", read, f"{made}.map", shape)
        if self.pool > 1:
            window = [self.pool, self.pool]
            read = result.add("AveragePool", read, f"{made}.pooled", kernel_shape=window, strides=window)
            channels, height, width = self.shape
            result.flops += channels * height * width * self.pool**2
        result.add("Identity", read, made)
        return result


def view(shape: tuple[int, ...]) -> View:
    """Tell how to see a tensor by its shape for one image, without the rows.

    >>> view((16, 32, 32))
    View(kind='planes', channels=16, height=32, width=32, extra=0, pool=2)
    >>> view((197, 768)).shape
    (768, 14, 14)
    >>> view((56, 56, 96)).kind
    'channels-last'
    >>> view((512,)).shape
    (512, 1, 1)
    """
    if len(shape) == _MAP:
        last = shape[0] == shape[1] and shape[1] != shape[2]
        height, width = shape[:2] if last else shape[1:]
        return View(
            "channels-last" if last else "planes",
            shape[2] if last else shape[0],
            height,
            width,
            pool=window(height, width),
        )
    if len(shape) == _TOKENS:
        for extra in _EXTRA_TOKENS:
            side = isqrt(max(0, shape[0] - extra))
            if side > 1 and side * side == shape[0] - extra:
                return View("tokens", shape[1], side, side, extra, window(side, side))
        return View("tokens", shape[1], shape[0], 1)
    size = 1
    for length in shape:
        size *= length
    return View("vector", size)
