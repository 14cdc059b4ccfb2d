"""Holds the arrays that callers in this process bring against what a model takes."""

import numpy as np
import numpy.typing as npt

from serving.errors import ImageError
from serving.images.preprocessing import Preprocessing

Shape = tuple[int, int, int]


def image_shape(preprocessing: Preprocessing) -> Shape:
    """The shape of one image, (H, W, 3), after preprocessing."""
    return preprocessing.height, preprocessing.width, 3


def stack(images: object, model: str, shape: Shape) -> npt.NDArray[np.uint8]:
    """Return images as uint8 [N, H, W, 3]; a single one, [H, W, 3], becomes the first of one.

    Args:
        images: what a caller brought.
        model: the model's name, for the message.
        shape: of one image.

    Raises:
        ImageError: not such an array, or an empty one.
    """
    if not isinstance(images, np.ndarray):
        raise ImageError(f"expected a NumPy array of images, found {type(images).__name__}")
    stacked = images[None] if images.ndim == 3 else images
    if stacked.dtype != np.uint8 or stacked.shape[1:] != shape or not len(stacked):
        height, width, _ = shape
        raise ImageError(
            f"model {model!r} expected images uint8 [N > 0, {height}, {width}, 3], "
            f"found {images.dtype} {list(images.shape)}"
        )
    return stacked
