"""Images as callers in this process have them: paths, bytes, Pillow images, arrays of any size."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from serving.errors import ImageError, ImageSizeError
from serving.images.arrays import image_shape
from serving.images.decode import decode, fit
from serving.images.preprocessing import Preprocessing
from serving.images.still import over_white

OneImage = Path | str | bytes | Image.Image | npt.NDArray[np.uint8]
"""A path, an encoded image, a Pillow image, or uint8 [H, W, 3]."""
Images = OneImage | Sequence[OneImage]
"""One image or several; an array may hold several, uint8 [N, H, W, 3]."""

MAX_PIXELS = 80_000_000
"""The most pixels of one image."""


def pixels_of(images: Images, spec: Preprocessing) -> npt.NDArray[np.uint8]:
    """Return images as a model takes them, uint8 [N, H, W, 3].

    Encoded images go through what requests over HTTP go through. Other sizes are resized and cropped as the
    bundle says, Pillow images turned upright and put over white. An array of the right size is passed on as
    it is.

    Args:
        images: one image or several.
        spec: what the model takes.

    Raises:
        ImageError: none at all, or one that cannot be read; of several it is named by its index.
    """
    if isinstance(images, np.ndarray):
        return _array(images, spec)
    if isinstance(images, (str, Path, bytes, Image.Image)):
        return _one(images, spec)[None]
    if not isinstance(images, Sequence) or not images:
        raise ImageError(
            "expected a path, bytes, a Pillow image, an array uint8 [N, H, W, 3], or a list of such, "
            f"found {'an empty list' if isinstance(images, Sequence) else type(images).__name__}"
        )
    found = []
    for index, image in enumerate(images):
        try:
            found.append(_one(image, spec))
        except ImageError as error:
            raise type(error)(f"images[{index}]: {error}") from error
    return np.stack(found)


def _one(image: object, spec: Preprocessing) -> npt.NDArray[np.uint8]:
    if isinstance(image, np.ndarray):
        if image.ndim != 3:
            raise ImageError(f"expected one image, uint8 [H, W, 3], found {image.dtype} {list(image.shape)}")
        only: npt.NDArray[np.uint8] = _array(image, spec)[0]
        return only
    if isinstance(image, Image.Image):
        return _fitted(upright(image), spec)
    if isinstance(image, bytes):
        return decode(image, spec, MAX_PIXELS)
    if isinstance(image, (str, Path)):
        try:
            data = Path(image).read_bytes()
        except (OSError, ValueError) as error:
            raise ImageError(
                f"cannot read {str(image)!r}: {getattr(error, 'strerror', None) or error}"
            ) from error
        try:
            return decode(data, spec, MAX_PIXELS)
        except ImageError as error:
            raise type(error)(f"{str(image)!r}: {error}") from error
    raise ImageError(f"expected a path, bytes, a Pillow image or an array, found {type(image).__name__}")


def _array(images: npt.NDArray[np.uint8], spec: Preprocessing) -> npt.NDArray[np.uint8]:
    stacked = images[None] if images.ndim == 3 else images
    if stacked.dtype != np.uint8 or stacked.ndim != 4 or stacked.shape[3] != 3 or not stacked.size:
        raise ImageError(
            "expected images uint8 [N > 0, H, W, 3], or one of them, found "
            f"{images.dtype} {list(images.shape)}"
        )
    if stacked.shape[1:] == image_shape(spec):
        return stacked
    return np.stack([_fitted(Image.fromarray(np.ascontiguousarray(image)), spec) for image in stacked])


def upright(image: Image.Image) -> Image.Image:
    """Turn an image as its orientation says, over white where transparent; 16 bits keep the high byte."""
    try:
        turned = ImageOps.exif_transpose(image)
        if turned.mode.startswith("I;16"):
            turned = Image.fromarray((np.asarray(turned) >> 8).astype(np.uint8))
        if turned.has_transparency_data:
            return over_white(turned.convert("RGBA"))
        return turned.convert("RGB")
    except MemoryError:
        raise
    except Exception as error:  # a file that Pillow opened and cannot decode fails in many ways
        raise ImageError(f"the Pillow image cannot be read: {error}") from error


def _fitted(image: Image.Image, spec: Preprocessing) -> npt.NDArray[np.uint8]:
    if image.width * image.height > MAX_PIXELS:
        raise ImageSizeError(f"expected at most {MAX_PIXELS:,} pixels, found {image.width}x{image.height}")
    return np.array(fit(image, spec))
