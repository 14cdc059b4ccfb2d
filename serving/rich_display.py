"""HTML of answers and models for notebooks: one self-contained piece, every text of it escaped.

Styles are inline and text has the notebook's own colour, so that a piece looks right in light and dark, and
stays readable where a viewer takes styles away. Pillow is imported when a picture is shown.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt
from jaxtyping import UInt8

PICTURE_PIXELS = 96
"""The longer side of a picture that is enlarged, in pixels of the screen."""

_MOST_PIXELS = 384
"""The longer side of a picture as it is embedded."""
_TAKEN, _OTHER = "#0f9d76", "#8a96a3"
_TABLE = "border-collapse:collapse;margin:0;font-size:13px;font-variant-numeric:tabular-nums"
_CELL = "padding:2px 10px 2px 0;text-align:left;border:0;background:none"


@dataclass(frozen=True)
class Bar:
    """One line: a name, a bar, and words beside it.

    Attributes:
        name: at the left.
        share: the length of the bar, in [0, 1].
        words: at the right.
        mark: where a line across the bar stands, in [0, 1]; None for no line.
        strong: whether it stands out.
    """

    name: str
    share: float
    words: str
    mark: float | None = None
    strong: bool = False


def card(title: str, facts: Sequence[str], bars: Sequence[Bar], picture: str | None = None) -> str:
    """Return a piece of HTML with a title, facts below it, bars, and a picture at its left.

    Args:
        title: plain text, as all that follows.
        facts: one line each.
        bars: one below the other.
        picture: the address of an image, as `png` returns it.
    """
    lines = [f'<div style="opacity:.8">{escape(fact)}</div>' for fact in facts]
    rows = "".join(_row(bar) for bar in bars)
    table = f'<table style="{_TABLE};margin-top:6px">{rows}</table>' if bars else ""
    shown = ""
    if picture is not None:
        style = f"width:{PICTURE_PIXELS}px;image-rendering:pixelated;border-radius:6px"
        shown = f'<img alt="" src="{escape(picture)}" style="{style}">'
    return (
        '<div style="display:flex;gap:16px;align-items:flex-start;font-size:13px;line-height:1.45">'
        f'{shown}<div><div style="font-weight:700;font-size:15px">{escape(title)}</div>'
        f"{''.join(lines)}{table}</div></div>"
    )


def png(image: UInt8[np.ndarray, "H W 3"]) -> str:
    """Return an image as the address of a PNG that holds it, at most 384 pixels at its longer side."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((_MOST_PIXELS, _MOST_PIXELS))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def kept(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Copy an image for an answer, which must not keep the whole batch, nor change with it."""
    copied = image.copy()
    copied.flags.writeable = False
    return copied


def _row(bar: Bar) -> str:
    weight = ";font-weight:700" if bar.strong else ""
    length = 100 * min(max(bar.share, 0.0), 1.0)
    mark = ""
    if bar.mark is not None and 0 <= bar.mark <= 1:
        mark = (
            f'<div style="position:absolute;left:{100 * bar.mark:.1f}%;top:-2px;bottom:-2px;width:2px;'
            'background:currentcolor"></div>'
        )
    drawn = (
        '<div style="position:relative;width:180px;height:10px;border-radius:5px;'
        'background:rgba(128,128,128,.22)">'
        f'<div style="width:{length:.1f}%;height:100%;border-radius:5px;'
        f'background:{_TAKEN if bar.strong else _OTHER}"></div>{mark}</div>'
    )
    cells = (escape(bar.name), drawn, escape(bar.words))
    return "<tr>" + "".join(f'<td style="{_CELL}{weight}">{cell}</td>' for cell in cells) + "</tr>"
