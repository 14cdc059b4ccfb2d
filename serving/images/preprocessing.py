"""From an image to the array that a model takes: a part of the bundle's manifest."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Preprocessing(BaseModel):
    """A bundle's size, crop and filter of images (part of the manifest).

    Args:
        height: rows of the array, in pixels.
        width: columns of the array, in pixels.
        resize: the shorter side is scaled to this many pixels, then the centre is cropped to
            `height` x `width`; None scales the whole image to `height` x `width`, whatever its shape.
        filter: the Pillow resampling filter (antialiased where it shrinks).
        colour: the order of the channels.
        decode: how far a JPEG is scaled while it is decoded, by libjpeg's halving. None leaves the shorter
            side at least twice as long as it is wanted; "scaled" at least as long, which takes less time and
            gives other pixels. Format 2.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    height: int = Field(gt=0, le=4096)
    width: int = Field(gt=0, le=4096)
    resize: int | None = Field(default=None, gt=0, le=8192)
    filter: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = "bilinear"
    colour: Literal["RGB"] = "RGB"
    decode: Literal["scaled"] | None = None

    @property
    def decoded_side(self) -> int:
        """Pixels below which the shorter side of an image need not be decoded."""
        wanted = self.resize or max(self.height, self.width)
        return wanted if self.decode == "scaled" else 2 * wanted

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if self.resize is not None and self.resize < max(self.height, self.width):
            raise ValueError(
                f"resize={self.resize} leaves no room for a crop of {self.height}x{self.width}: "
                f"expected at least {max(self.height, self.width)}"
            )
        return self
