"""Cosines between exits as heat maps."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from training.analysis.cosines import Floats

UNKNOWN = "0.85"
"""Grey: two exits that share nothing there, or an exit and itself."""


def exit_maps(path: Path, title: str, maps: Sequence[tuple[str, Floats]], columns: int) -> None:
    """Draw matrices of exits against exits, on one scale that is symmetric about 0.

    Args:
        path: the PNG file to write.
        title: of the whole figure.
        maps: names, and cosines [K, K]; their diagonals are not drawn.
        columns: maps side by side.
    """
    shown = [(name, _off_diagonal(values)) for name, values in maps]
    rows, exits = math.ceil(len(shown) / columns), len(shown[0][1])
    side = max(1.9, 0.46 * exits + 0.9) if len(shown) <= 2 else max(1.9, 0.3 * exits + 0.6)
    whole = figure(title, (side * columns + 1.0, side * rows + 0.6))
    most = colour_limit([values for _, values in shown])
    grid = whole.subplots(rows, columns, squeeze=False)
    for axes, (name, values) in zip(grid.flat, shown, strict=False):
        image = heat(axes, values, most)
        axes.set_title(name, fontsize=9)
        _number_exits(axes, exits)
        if len(shown) <= 2:
            write_values(axes, values, most, 2)
    for axes in grid.flat[len(shown) :]:
        axes.set_axis_off()
    _label_outer(grid, "exit")
    whole.colorbar(image, ax=grid, shrink=0.8, label="cosine")
    whole.savefig(path, format="png", dpi=150)


def layer_map(path: Path, title: str, values: Floats, segments: Sequence[int]) -> None:
    """Draw the cosines of every tensor, from the image (top) to the last exit, for every pair of exits.

    Args:
        path: the PNG file to write.
        title: of the figure.
        values: [tensors, K, K].
        segments: [tensors], the segment of each, from 0.
    """
    pairs = _pairs(values.shape[-1])
    flat = np.stack([values[:, first, second] for first, second in pairs], axis=1)
    whole = figure(title, (max(4.8, 0.36 * len(pairs) + 2.0), min(12.0, max(3.5, 0.045 * len(flat) + 1.5))))
    axes = whole.add_subplot()
    image = heat(axes, flat, colour_limit([flat]), "auto")
    axes.set_xticks(range(len(pairs)), [f"{a + 1}–{b + 1}" for a, b in pairs], rotation=90, fontsize=8)
    axes.set_xlabel("pair of exits")
    starts = [index for index, segment in enumerate(segments) if segment not in segments[:index]]
    axes.set_yticks([start - 0.5 for start in starts], [f"segment {segments[i] + 1}" for i in starts])
    axes.hlines([start - 0.5 for start in starts], -0.5, len(pairs) - 0.5, color="black", linewidth=0.8)
    axes.set_ylabel("parameter tensors, in order of depth")
    whole.colorbar(image, ax=axes, label="cosine")
    whole.savefig(path, format="png", dpi=150)


def over_training(path: Path, title: str, epochs: Sequence[int], values: Floats) -> None:
    """Draw how the cosines of all pairs go with the epochs.

    Args:
        path: the PNG file to write.
        title: of the figure.
        epochs: whole epochs done at each measurement.
        values: [measurements, K, K].
    """
    pairs = _pairs(values.shape[-1])
    flat = np.stack([values[:, first, second] for first, second in pairs])
    whole = figure(title, (min(14.0, max(5.5, 0.4 * len(epochs) + 2.8)), max(3.2, 0.24 * len(pairs) + 1.6)))
    axes = whole.add_subplot()
    image = heat(axes, flat, colour_limit([flat]), "auto")
    every = max(1, math.ceil(len(epochs) / 20))
    axes.set_xticks(range(0, len(epochs), every), [str(epoch) for epoch in epochs[::every]])
    axes.set_xlabel("epochs trained")
    axes.set_yticks(range(len(pairs)), [f"{a + 1}–{b + 1}" for a, b in pairs], fontsize=8)
    axes.set_ylabel("pair of exits")
    whole.colorbar(image, ax=axes, label="cosine")
    whole.savefig(path, format="png", dpi=150)


def figure(title: str, size: tuple[float, float]) -> Figure:
    """Begin a figure of a size in inches."""
    begun = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(begun)  # without pyplot there is no global state to leak between figures
    begun.suptitle(title, fontsize=10)
    return begun


def heat(axes: Axes, values: Floats, limit: float, aspect: str = "equal", bad: int = -1) -> AxesImage:
    """Draw values as colours from −limit to limit, the `bad` sign in red; what is not known stays grey."""
    colours: Colormap = colormaps["RdBu" if bad < 0 else "RdBu_r"].with_extremes(bad=UNKNOWN)
    return axes.imshow(
        np.ma.masked_invalid(values),
        cmap=colours,
        vmin=-limit,
        vmax=limit,
        aspect=aspect,  # type: ignore[arg-type]
    )


def write_values(axes: Axes, values: Floats, limit: float, digits: int) -> None:
    """Write every value into its cell."""
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            colour = "white" if abs(value) > 0.6 * limit else "black"
            text = f"{value:.{digits}f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=7.5, color=colour)


def _number_exits(axes: Axes, exits: int) -> None:
    numbers = [str(number + 1) for number in range(exits)]
    axes.set_xticks(range(exits), numbers, fontsize=8)
    axes.set_yticks(range(exits), numbers, fontsize=8)


def _label_outer(grid: np.ndarray[tuple[int, ...], np.dtype[np.object_]], text: str) -> None:
    for axes in grid[-1]:
        axes.set_xlabel(text, fontsize=8)
    for axes in grid[:, 0]:
        axes.set_ylabel(text, fontsize=8)


def colour_limit(maps: Sequence[Floats], least: float = 0.1) -> float:
    """Return where the colours end: the largest value, up to the next tenth."""
    known: Floats = np.concatenate([np.abs(values[~np.isnan(values)]).ravel() for values in maps])
    return max(least, math.ceil(10 * float(known.max(initial=0.0))) / 10)


def _off_diagonal(values: Floats) -> Floats:
    return np.where(np.eye(len(values), dtype=bool), np.nan, values)


def _pairs(exits: int) -> list[tuple[int, int]]:
    return [(first, second) for first in range(exits) for second in range(first + 1, exits)]
