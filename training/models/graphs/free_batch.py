"""A free number of images, for torch.export."""

from typing import Any

import torch

_MOST = 2**20


def free_batch() -> dict[int, Any]:
    """Return the dynamic shape of a tensor whose rows, one for each image, are free in number."""
    return {0: torch.export.Dim("N", min=1, max=_MOST)}
