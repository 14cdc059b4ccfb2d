"""Image sizes that grow as training goes: small images cost less, and early epochs need no more.

Source: Tan and Le, "EfficientNetV2", ICML 2021, section 4 (progressive learning), in the form of Composer's
progressive resizing (docs.mosaicml.com): the smaller size for the first half of a stage, a linear growth in
steps of 4 pixels, and the full size for the last fifth.
"""

import torch.nn.functional as F
from torch import Tensor

_GROWS, _GROWN = 0.5, 0.8
_STEP = 4


def side_at(progress: float, start: int, full: int) -> int:
    """Return the images' side in pixels.

    Args:
        progress: through the stage, in 0..1.
        start: side at first, in pixels.
        full: side at last, in pixels.

    >>> [side_at(p, 20, 32) for p in (0.0, 0.5, 0.65, 0.8)]
    [20, 20, 24, 32]
    """
    share = min(1.0, max(0.0, (progress - _GROWS) / (_GROWN - _GROWS)))
    return full if share == 1 else start + int((full - start) * share) // _STEP * _STEP


def resized(images: Tensor, side: int) -> Tensor:
    """Return images [N, side, side, 3] of uint8 images [N, H, W, 3]; bilinear, antialiased, rounded."""
    if images.shape[1:3] == (side, side):
        return images
    planes = images.permute(0, 3, 1, 2).float()
    smaller = F.interpolate(planes, (side, side), mode="bilinear", antialias=True)
    return smaller.round().clamp(0, 255).to(images.dtype).permute(0, 2, 3, 1)
