"""Pixels of a request in the servers to compare with: Pillow, as most servers have it.

With SIDE set, pictures are cropped and resized to so many pixels a side, by what a careful author would use:
libjpeg's scaled decoding down to twice the size, and one resampling of the crop alone. SHORTER is the length
that the shorter side would have before the crop.
"""

import io
import os
from typing import Any

import numpy as np
from PIL import Image

SIDE, SHORTER = int(os.environ.get("SIDE", "0")), int(os.environ.get("SHORTER", "0"))


def pixels(data: bytes) -> Any:
    """Decode one image, uint8 [H, W, 3]."""
    if SIDE:
        return fitted(data, SIDE, SHORTER, 2)
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def fitted(data: bytes, side: int, shorter: int, margin: int) -> Any:
    """Decode one image, scale its shorter side to `shorter` pixels and crop the centre.

    Args:
        data: the file.
        side: pixels of the square that is cropped.
        shorter: pixels of the shorter side before that.
        margin: how many times `shorter` libjpeg leaves where it scales; 0 decodes it whole.
    """
    image = Image.open(io.BytesIO(data))
    if margin:
        image.draft("RGB", (margin * shorter, margin * shorter))
    kept = side * min(image.size) / shorter
    left, top = (image.width - kept) / 2, (image.height - kept) / 2
    box = (left, top, left + kept, top + kept)
    return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR, box=box))
