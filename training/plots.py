"""Figures that are drawn without a screen."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.curves import Point


def accuracy_over_flops(
    path: Path, title: str, exit_flops: Sequence[int], exit_accuracy: Sequence[float], curve: Sequence[Point]
) -> None:
    """Draw the budgeted curve, and the exits as fixed-depth points beside it, into a PNG file.

    Args:
        path: the file to write.
        title: what was measured.
        exit_flops: [K], FLOPs per image of leaving at each exit.
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
    axes.plot(
        [flops / 1e6 for flops in exit_flops],
        [accuracy * 100 for accuracy in exit_accuracy],
        "o",
        label="every image at one exit",
        color="tab:orange",
    )
    for number, (flops, accuracy) in enumerate(zip(exit_flops, exit_accuracy, strict=True), start=1):
        axes.annotate(str(number), (flops / 1e6, accuracy * 100), textcoords="offset points", xytext=(5, -11))
    axes.set_xlabel("mean cost (MFLOPs per image)")
    axes.set_ylabel("accuracy (%)")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, format="png", dpi=150)
