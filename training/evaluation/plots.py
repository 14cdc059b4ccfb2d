"""Figures that are drawn without a screen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.evaluation.curves import Point

_STATIC_STYLES = (("o", "tab:orange"), ("x", "tab:green"))


def accuracy_over_flops(
    path: Path,
    title: str,
    static: Mapping[str, Sequence[int]],
    exit_accuracy: Sequence[float],
    curve: Sequence[Point],
) -> None:
    """Draw the budgeted curve, and the exits as fixed-depth points beside it, into a PNG file.

    Args:
        path: the file to write.
        title: what was measured.
        static: what to do without leaving early, by name: its cost at each exit, FLOPs per image [K].
        exit_accuracy: [K], in [0, 1].
        curve: measured budgets, ascending.
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)  # without pyplot there is no global state to leak between figures
    axes = figure.add_subplot()
    axes.plot(
        [point.spent_flops / 1e6 for point in curve],
        [point.accuracy * 100 for point in curve],
        label="leaving early under a budget",
        color="tab:blue",
    )
    for (label, costs), (marker, colour) in zip(static.items(), _STATIC_STYLES, strict=False):
        axes.plot(
            [flops / 1e6 for flops in costs],
            [accuracy * 100 for accuracy in exit_accuracy],
            marker,
            label=label,
            color=colour,
        )
    for number, (flops, accuracy) in enumerate(
        zip(next(iter(static.values())), exit_accuracy, strict=True), start=1
    ):
        axes.annotate(str(number), (flops / 1e6, accuracy * 100), textcoords="offset points", xytext=(5, -11))
    axes.set_xlabel("mean cost (MFLOPs per image)")
    axes.set_ylabel("accuracy (%)")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, format="png", dpi=150)


@dataclass(frozen=True)
class Line:
    """One line of a figure: lines of a family share a colour, and differ in their dashes."""

    label: str
    family: str
    values: Sequence[float]


def gains_over_flops(path: Path, title: str, budgets_flops: Sequence[float], lines: Sequence[Line]) -> None:
    """Draw what each line gains over a common base, budget by budget, into a PNG file.

    Args:
        path: the file to write.
        title: what was measured.
        budgets_flops: FLOPs per image, ascending.
        lines: gains in accuracy, in -1..1, one per budget each.
    """
    figure = Figure(figsize=(9.6, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    families = list(dict.fromkeys(line.family for line in lines))
    drawn = dict.fromkeys(families, 0)
    for line in lines:
        axes.plot(
            [budget / 1e6 for budget in budgets_flops],
            [100 * value for value in line.values],
            label=line.label,
            color=colormaps["tab10"](families.index(line.family)),
            linestyle=("-", "--", "-.", ":")[drawn[line.family] % 4],
        )
        drawn[line.family] += 1
    axes.set_xlabel("budget (MFLOPs per image)")
    axes.set_ylabel("gain in accuracy (points)")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="x-small")
    figure.savefig(path, format="png", dpi=150)
