"""The figures of a comparison, as PNG beside the Markdown and as SVG within the page."""

import io
import re
import textwrap
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.comparison.poster import Table
from training.comparison.summary import Floats, Spread, View

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#333333", "#8c6d31")
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""

MARKERS = "os^Dv<>P"

_INK = "svg{color:#15201b}text{fill:currentColor}@media (prefers-color-scheme:dark){svg{color:#e7eeea}}"

TITLE_WIDTH = 90
"""The letters of a title that fit beside each other; the options of a model may make it longer."""


def budgeted(view: View, title: str) -> Figure:
    """Draw accuracy over the mean cost, of every contender, as in the poster's Fig. 2."""
    figure, axes = _figure(title)
    for index, standing in enumerate(view.standings):
        curve = standing.curve()
        if curve:
            flops, accuracy = curve
            _line(axes, flops / 1e6, accuracy, index, standing.contender.label)
    return _finish(figure, axes, "mean cost (MFLOPs per image)", "test accuracy under a budget (%)")


def exits(view: View, title: str, table: Table | None) -> Figure:
    """Draw every exit's accuracy over its cost; the poster's as dotted lines where it may stand beside."""
    figure, axes = _figure(title)
    flops = np.asarray(view.exit_flops) / 1e6
    drawn = set()
    for index, standing in enumerate(view.standings):
        if standing.accuracy:
            _line(axes, flops, standing.accuracy, index, standing.contender.label, MARKERS[index % 8])
        method = standing.contender.method
        if table and method in table.accuracy and method not in drawn:
            drawn.add(method)
            theirs = np.asarray(table.accuracy[method])
            style = {"color": COLOURS[index % 8], "linestyle": ":", "linewidth": 1.2}
            axes.plot(table.exit_mflops, 100 * theirs, label=f"{method}, poster", **style)  # type: ignore[arg-type]
    return _finish(figure, axes, "cost of the exit (MFLOPs per image)", "test accuracy (%)")


def learning(view: View, title: str) -> Figure:
    """Draw the exits' mean validation accuracy over the time trained."""
    figure, axes = _figure(title)
    for index, standing in enumerate(view.standings):
        found = standing.learning()
        if found:
            seconds, accuracy = found
            _line(axes, seconds / 60, accuracy, index, standing.contender.label, MARKERS[index % 8])
    return _finish(figure, axes, "training time (minutes)", "validation accuracy, mean of the exits (%)")


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    figure.savefig(path, format="png", dpi=150)


def svg(figure: Figure) -> str:
    """Return a figure as an SVG image without a ground, whose black is the reader's ink, light or dark."""
    file = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "offramp"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = file.getvalue()
    for black in ("#000000", COLOURS[6]):
        drawn = drawn.replace(black, "currentColor")
    # Labels have no colour of their own in Matplotlib's SVG, and boxes of legends are white.
    drawn = re.sub(r"(?<=fill: )#ffffff", "none", drawn)
    return drawn.replace("<defs>", f"<style>{_INK}</style>\n <defs>", 1)


def _figure(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.0, 5.0), layout="constrained")
    FigureCanvasAgg(figure)  # without pyplot there is no global state to leak between figures
    axes = figure.add_subplot()
    axes.set_title(textwrap.fill(title, TITLE_WIDTH), fontsize=10)
    return figure, axes


def _line(axes: Axes, x: Floats, accuracy: Spread, index: int, label: str, marker: str = "") -> None:
    colour = COLOURS[index % len(COLOURS)]
    dashes = "-" if index < len(COLOURS) else "--"
    mean = 100 * accuracy.mean
    axes.plot(
        x, mean, label=label, color=colour, marker=marker, markersize=4, linewidth=1.6, linestyle=dashes
    )
    if accuracy.std is not None:
        band = 100 * accuracy.std
        axes.fill_between(x, mean - band, mean + band, color=colour, alpha=0.15, linewidth=0)


def _finish(figure: Figure, axes: Axes, x: str, y: str) -> Figure:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    if axes.has_data():
        figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    else:
        axes.text(0.5, 0.5, "no run reached its end", transform=axes.transAxes, ha="center", va="center")
    return figure
