"""An encoded picture whose header has been read, and whose pixels have not been decoded yet."""

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from serving.errors import ImageError

MAX_PARTS = 20_000
"""The most parts of a file, chunks or segments: encoders write one for some kilobytes."""


@dataclass(frozen=True)
class Still:
    """A picture, or the first of an animation.

    Attributes:
        size: width and height of what is stored, in pixels.
        orientation: how a viewer turns it, 1 to 8 as EXIF counts; 1 where nothing that can be read says so.
        frames: how many pictures an animation shows; 1 where there is none.
        decode: returns the stored pixels in mode RGB, transparency composited over white. It takes the length
            in pixels that the shorter side may be reduced to, at most, while decoding, or None. Raises
            `ImageError` if the pixels are not all there.
    """

    size: tuple[int, int]
    orientation: int
    frames: int
    decode: Callable[[int | None], Image.Image]


def over_white(image: Image.Image) -> Image.Image:
    """Composite an RGBA image over white, as a page shows it; returns RGB."""
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def broken(image_format: str, reason: str) -> ImageError:
    """Make the error of an image that is not whole."""
    return ImageError(f"the {image_format} image is truncated or broken: {reason}")


def too_many_parts(image_format: str) -> ImageError:
    """Make the error of an image in so many parts that taking it apart would cost more than its pixels."""
    return ImageError(
        f"expected a {image_format} image of at most {MAX_PARTS:,} chunks or segments, found more: "
        "save it again"
    )
