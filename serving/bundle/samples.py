"""`samples.npz`: a few images that come with a bundle, so that people can try it at once."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.bundle.npz import expect, from_npz, to_npz
from serving.errors import BundleError, ImageError
from serving.images.decode import CONTENT_TYPES, open_image, sniff, to_array
from serving.images.preprocessing import Preprocessing

FILE = "samples.npz"
MAX_IMAGES = 64
MAX_BYTES = 512 * 2**10
"""The most bytes of the file, and of what it unpacks to."""
MAX_PIXELS = 16 * 2**20
"""The most pixels of all images together: reading a bundle decodes each of them."""
ROOM_BYTES = MAX_BYTES - 4096
"""The most bytes of all images together; the rest is left for the other arrays, and for names and headers."""

_REQUIRED, _OPTIONAL = {"images", "sizes"}, {"labels"}


@dataclass(frozen=True)
class Samples:
    """A few images as files.

    Args:
        images: PNG, JPEG or WebP, at least one.
        labels: the true class of each; None where nobody knows them.
    """

    images: tuple[bytes, ...]
    labels: tuple[int, ...] | None = None

    def media_type(self, index: int) -> str:
        """Return the media type of an image (0-based)."""
        return CONTENT_TYPES[sniff(self.images[index])]

    def to_bytes(self) -> bytes:
        """Return the images as an npz file; the same images give the same bytes."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "images": np.frombuffer(b"".join(self.images), np.uint8),
            "sizes": np.array([len(image) for image in self.images], np.int64),
        }
        if self.labels is not None:
            arrays["labels"] = np.array(self.labels, np.int64)
        return to_npz(arrays)

    @classmethod
    def from_bytes(cls, data: bytes, classes: int, spec: Preprocessing) -> "Samples":
        """Read an npz file, and hold every image against what the server would make of it.

        Args:
            data: the file.
            classes: how many the bundle has.
            spec: what the bundle's first segment takes.

        Raises:
            BundleError: an array is missing, unknown or wrong, or an image cannot be read; names no bundle.
        """
        arrays = from_npz(data, MAX_BYTES)
        if not _REQUIRED <= arrays.keys() <= _REQUIRED | _OPTIONAL:
            raise BundleError(
                f"expected the arrays {sorted(_REQUIRED)}, and labels or not; found {sorted(arrays)}"
            )
        images = _cut(arrays["images"], arrays["sizes"])
        _check_images(images, spec)
        labels = arrays.get("labels")
        if labels is None:
            return cls(images)
        expect("labels", labels, np.int64, (len(images),))
        if labels.min() < 0 or labels.max() >= classes:
            raise BundleError(f"labels must lie in 0..{classes - 1} for the manifest's {classes} classes")
        return cls(images, tuple(labels.tolist()))


def _cut(stored: npt.NDArray[Any], sizes: npt.NDArray[Any]) -> tuple[bytes, ...]:
    expect("sizes", sizes, np.int64, (sizes.size,))
    if not 1 <= sizes.size <= MAX_IMAGES:
        raise BundleError(f"expected 1 to {MAX_IMAGES} images, found {sizes.size}")
    expect("images", stored, np.uint8, (stored.size,))
    if sizes.min() < 1 or sizes.max() > MAX_BYTES or sizes.sum() != stored.size:
        raise BundleError(f"sizes must be positive, and add up to the {stored.size} bytes of images")
    data, ends = stored.tobytes(), np.cumsum(sizes).tolist()
    return tuple(data[end - size : end] for end, size in zip(ends, sizes.tolist(), strict=True))


def _check_images(images: tuple[bytes, ...], spec: Preprocessing) -> None:
    left = MAX_PIXELS
    for number, image in enumerate(images):
        try:
            still = open_image(image, MAX_PIXELS)
            left -= still.size[0] * still.size[1]
            if left < 0:
                raise BundleError(f"expected at most {MAX_PIXELS:,} pixels of all images, found more")
            to_array(still, spec)
        except ImageError as error:
            raise BundleError(f"images[{number}]: {error}") from error
