"""All alternatives in one picture: accuracy over FLOPs, and over the time of a single image."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.advising.frontier import Cost, Measured, frontier
from training.advising.report import Advice, by_flops, by_time

_MARKERS = {"network": "D", "cascade": "o", "exits": "o", "bundle": "o"}
_STYLES = {"float32": "-", "float16": ":", "int8": "--"}


def draw(advice: Advice, path: Path) -> None:
    """Draw alternatives that leave early as lines, single networks as diamonds, into a PNG file.

    Args:
        advice: what was measured.
        path: the file to write.
    """
    figure = Figure(figsize=(12, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    over_flops, over_time = figure.subplots(1, 2, sharey=True)
    titles = list(dict.fromkeys(point.title for point in advice.points))
    for axes, cost in ((over_flops, lambda point: by_flops(point) / 1e6), (over_time, by_time)):
        _frontier(axes, frontier(advice.points, cost), cost)
        for number, title in enumerate(titles):
            for precision in _STYLES:
                own = [p for p in advice.points if (p.title, p.precision) == (title, precision)]
                _line(axes, sorted(own, key=by_flops), cost, colormaps["tab10"](number % 10))
        axes.grid(alpha=0.3)
    if advice.budget_flops is not None:
        over_flops.axvline(advice.budget_flops / 1e6, color="black", linestyle=":", label="the budget")
    if advice.latency_ms is not None:
        over_time.axvline(advice.latency_ms, color="black", linestyle=":", label="the latency")
    over_flops.set(xlabel="mean cost (MFLOPs per image)", ylabel=f"{advice.right} (%)")
    over_time.set(xlabel="mean time of a single image over HTTP (ms)")
    handles, labels = over_flops.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize="small")
    figure.suptitle(f"{advice.images:,} images of {advice.source}")
    figure.savefig(path, format="png", dpi=120)


def _line(axes: Axes, points: Sequence[Measured], cost: Cost, colour: object) -> None:
    if not points:
        return
    first = points[0]
    filled = colour if first.precision == "float32" else "white"
    axes.plot(
        [cost(point) for point in points],
        [100 * point.accuracy for point in points],
        marker=_MARKERS[first.kind],
        markersize=7 if first.kind == "network" else 4,
        markerfacecolor=filled,
        linestyle=_STYLES[first.precision],
        color=colour,
        label=str(first),
    )


def _frontier(axes: Axes, points: Sequence[Measured], cost: Cost) -> None:
    costs = [cost(point) for point in points]
    axes.step(
        costs,
        [100 * point.accuracy for point in points],
        where="post",
        color="lightgrey",
        linewidth=6,
        label="the best at each cost",
        zorder=0,
    )
