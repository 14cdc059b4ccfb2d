"""The half-detached feature split: half of what an exit's head reads belongs to that exit alone.

Source: Gong et al., "Deep Feature Surgery: Towards Accurate and Efficient Multi-Exit Networks", ECCV 2024
(github.com/GongCheng1919/dfs), feature partitioning with a ratio of one half and feature referencing. The
head sees all channels; what is passed on has the same values, and later exits' gradients reach the first half
only. As in the authors' MSDNet, features that the exit's head does not read (finer scales) are passed on
whole: the detached half of them would never train.
"""

import torch
from torch import Tensor

Features = tuple[Tensor, ...]


def half_detached(features: Features, read: int) -> Features:
    """Detach the second half of the channels of one of the features.

    Args:
        features: what a segment passes on.
        read: index of those that its head reads; ⌊C/2⌋ of their C channels keep their gradient.
    """
    x = features[read]
    axis = channel_axis(x)
    kept = x.shape[axis] // 2
    first, second = x.split_with_sizes([kept, x.shape[axis] - kept], axis)
    split = list(features)
    split[read] = torch.cat([first, second.detach()], axis)
    return tuple(split)


def channel_axis(x: Tensor) -> int:
    """Return where the channels are: 1 in square maps [N, C, H, W], else last ([N, H, W, C], tokens, [N, C]).

    >>> channel_axis(torch.zeros(2, 8, 4, 4)), channel_axis(torch.zeros(2, 4, 4, 8))
    (1, -1)
    """
    return 1 if x.dim() == 4 and x.shape[2] == x.shape[3] else -1
