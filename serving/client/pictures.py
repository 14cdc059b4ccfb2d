"""Images as callers have them, encoded for the server."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving.errors import ImageError, ImageSizeError
from serving.images.inputs import MAX_PIXELS, Images, upright
from serving.system.plain_file import read_plain

MAX_FILE_BYTES = 256 * 2**20
"""The largest file that is read; the server's own limit (`--max-body-bytes`) is lower by default."""


def encoded(images: Images) -> list[bytes]:
    """Return each image as a file: files and bytes as they are, pixels as PNG.

    Args:
        images: a path, the bytes of a PNG, JPEG or WebP, a Pillow image, an array uint8 [H, W, 3] of any
            size, or a list of such; or an array uint8 [N, H, W, 3].

    Raises:
        ImageError: none at all, or one that cannot be read; of several it is named by its index.
    """
    if isinstance(images, np.ndarray) and images.ndim == 4 and len(images):
        return [_from_array(image) for image in images]
    if isinstance(images, (str, Path, bytes, Image.Image, np.ndarray)):
        return [_one(images)]
    if not isinstance(images, Sequence) or not images:
        raise ImageError(
            "expected a path, bytes, a Pillow image, an array uint8 [H, W, 3], or a list of such, "
            f"found {'an empty list' if isinstance(images, Sequence) else type(images).__name__}"
        )
    files = []
    for index, image in enumerate(images):
        try:
            files.append(_one(image))
        except ImageError as error:
            raise type(error)(f"images[{index}]: {error}") from error
    return files


def _one(image: object) -> bytes:
    if isinstance(image, bytes):
        return image
    if isinstance(image, (str, Path)):
        try:
            return read_plain(Path(image), MAX_FILE_BYTES)
        except (OSError, ValueError) as error:
            raise ImageError(
                f"cannot read {str(image)!r}: {getattr(error, 'strerror', None) or error}"
            ) from error
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if isinstance(image, Image.Image):
        _refuse_if_large(image.width, image.height)
        return _png(upright(image))
    raise ImageError(f"expected a path, bytes, a Pillow image or an array, found {type(image).__name__}")


def _from_array(image: npt.NDArray[np.uint8]) -> bytes:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ImageError(f"expected an image uint8 [H, W, 3], found {image.dtype} {list(image.shape)}")
    _refuse_if_large(image.shape[1], image.shape[0])
    return _png(Image.fromarray(np.ascontiguousarray(image)))


def _refuse_if_large(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageSizeError(f"expected at most {MAX_PIXELS:,} pixels, found {width}x{height}")


def _png(image: Image.Image) -> bytes:
    with io.BytesIO() as file:
        image.save(file, "PNG", compress_level=1)
        return file.getvalue()
