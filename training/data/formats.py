"""The picture formats that training reads: the three that are served, through the same code, and six more.

A picture whose format does not say what its numbers mean as a picture (floating point, signed or 32-bit whole
numbers) is refused: taken for 0 … 255 it would turn black or white without a word.
"""

from io import BytesIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from serving.errors import ImageError, ImageTypeError
from serving.images.decode import open_still
from serving.images.orientation import UPRIGHT, orientation
from serving.images.signatures import kind_of
from serving.images.still import Still, over_white
from training.data.tiff_strips import check_strips

EXTENSIONS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WebP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k"),
}
"""The formats, as Pillow calls them, and the endings of their files."""

_OTHERS = ("BMP", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000")
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF 6.0
_WHITE_IS_ZERO, _UNSIGNED = 0, 1


def open_any(data: bytes) -> Still:
    """Read a picture of any format that training takes; of an animation, the first frame.

    Raises:
        ImageError: another format, truncated, broken, or numbers that are no grey levels or colours.
    """
    try:
        return open_still(data)
    except ImageTypeError:
        pass  # One of the others, or none.
    try:
        with Image.open(BytesIO(data), formats=_OTHERS) as image:
            _check_samples(image)
            if image.format == "TIFF":
                check_strips(data, image.tag_v2)  # type: ignore[attr-defined]
            image.load()
            # Pillow turns a TIFF by itself.
            turned = UPRIGHT if image.format == "TIFF" else orientation(image.info.get("exif"))
            rgb = _to_rgb(image)
    except ImageError:
        raise
    except UnidentifiedImageError:  # Its text shows an address.
        kind = kind_of(data)
        found = (
            "bytes that start like none of them"
            if kind is None
            else f"{kind}, broken or of a kind that is not read: save it as PNG"
        )
        raise ImageError(f"expected a picture in {', '.join(EXTENSIONS)}, found {found}") from None
    except Exception as error:  # Pillow's parsers raise whatever broken bytes make them trip over.
        raise ImageError(f"the image is truncated or broken: {error}") from error
    return Still(rgb.size, turned, 1, lambda shorter_side: rgb)


def _check_samples(image: Image.Image) -> None:
    """Refuse samples that are no levels from 0 up to what their bits hold."""
    tags = getattr(image, "tag_v2", {})
    bits, kinds = tags.get(_BITS, (8,)), tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))
    if image.mode == "F" or max(bits) > 16 or set(kinds) != {_UNSIGNED}:
        raise ImageError(
            f"expected whole numbers without a sign of at most 16 bits, found mode {image.mode} with "
            f"{max(bits)} bits: {image.format} does not say which number is white; save it with 8 or 16 bits"
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded picture to RGB: more than 8 bits keep the highest 8, transparency goes over white."""
    if image.mode.startswith("I"):  # Pillow's own conversion would clip at 255.
        tags = getattr(image, "tag_v2", {})
        levels = np.asarray(image, dtype=np.int64) >> (max(tags.get(_BITS, (16,))) - 8)
        if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            levels = 255 - levels
        return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data and not _is_unused(image):
        return over_white(image.convert("RGBA"))
    return image.convert("RGB")


def _is_unused(image: Image.Image) -> bool:
    """Whether the fourth byte of a BMP's pixels is no transparency: many programs leave it 0 everywhere."""
    return image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0)
