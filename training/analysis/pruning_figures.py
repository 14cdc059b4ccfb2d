"""Accuracy while parameters are pruned, as curves and as a heat map."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.lines import Line2D

from training.analysis.cosines import Floats
from training.analysis.heat_maps import colour_limit, figure, heat, write_values


def pruning_curves(
    path: Path,
    title: str,
    exits: Sequence[int],
    shares: Floats,
    important: Sequence[Floats],
    random: Sequence[Floats],
) -> None:
    """Draw every exit's accuracy while the parameters important to one exit are pruned, one panel per exit.

    Args:
        path: the PNG file to write.
        title: of the whole figure.
        exits: the exits that were pruned for, from 0.
        shares: [steps] of the exit's shared weights that are pruned, in 0..1.
        important: per exit pruned for, accuracies [steps, K] in 0..1.
        random: the same when others are pruned, [draws, steps, K].
    """
    columns = min(3 if len(exits) < 7 else 4, len(exits))
    rows = math.ceil(len(exits) / columns)
    whole = figure(title, (3.2 * columns + 1.2, 2.7 * rows + 0.7))
    grid = whole.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    count = important[0].shape[-1]
    colours = colormaps["viridis"](np.linspace(0, 0.9, count))
    x = 100 * shares
    for axes, exit_index, mine, others in zip(grid.flat, exits, important, random, strict=False):
        for k in range(count):
            width = 2.6 if k == exit_index else 1.2
            axes.plot(x, 100 * mine[:, k], color=colours[k], linewidth=width)
        # At random, of that exit alone: all of them would hide the rest. The heat map has the others.
        mean, std = 100 * others[:, :, exit_index].mean(0), 100 * others[:, :, exit_index].std(0)
        axes.plot(x, mean, color="black", linestyle="--", linewidth=1.2)
        axes.fill_between(x, mean - std, mean + std, color="black", alpha=0.12, linewidth=0)
        axes.set_title(f"important to exit {exit_index + 1}", fontsize=9)
        axes.grid(alpha=0.3)
        axes.xaxis.set_tick_params(labelbottom=True)
    for axes in grid.flat[len(exits) :]:
        axes.set_axis_off()
    whole.supxlabel("pruned of the exit's shared weights (%)", fontsize=10)
    whole.supylabel("accuracy (%)", fontsize=10)
    lines = [Line2D([], [], color=colour, label=f"exit {k + 1}") for k, colour in enumerate(colours)]
    control = Line2D([], [], color="black", linestyle="--", label="that exit,\nat random")
    whole.legend(handles=[*lines, control], loc="outside right center", fontsize=8)
    whole.savefig(path, format="png", dpi=150)


def harm_map(path: Path, title: str, exits: Sequence[int], harm: Floats) -> None:
    """Draw how much more it costs each exit to lose what is important to one than to lose as much at random.

    Args:
        path: the PNG file to write.
        title: of the figure.
        exits: the exits that were pruned for, from 0.
        harm: [exits pruned for, K] in percentage points.
    """
    whole = figure(title, (max(4.4, 0.6 * harm.shape[1] + 2.2), max(2.6, 0.5 * len(exits) + 1.6)))
    axes = whole.add_subplot()
    most = colour_limit([harm], least=1.0)
    image = heat(axes, harm, most, bad=1)
    axes.set_xticks(range(harm.shape[1]), [str(k + 1) for k in range(harm.shape[1])])
    axes.set_yticks(range(len(exits)), [str(exit_index + 1) for exit_index in exits])
    axes.set_xlabel("accuracy of exit")
    axes.set_ylabel("pruned: important to exit")
    write_values(axes, harm, most, 1)
    whole.colorbar(image, ax=axes, label="loss beyond random (points)")
    whole.savefig(path, format="png", dpi=150)
