"""A comparison as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from training.comparison.poster import Table
from training.comparison.summary import MethodSummary, Spread, View

AREAS: tuple[Literal["budgeted", "anytime"], ...] = ("budgeted", "anytime")
"""Mean accuracy over all costs from the cheapest exit to full depth (`training.evaluation.areas`)."""


def markdown(
    command: str,
    facts: Mapping[str, Any],
    views: Sequence[View],
    poster: Table | None,
    differs: Sequence[Mapping[str, Sequence[str]]],
) -> str:
    """Return the report.

    Args:
        command: the command that made it.
        facts: what all runs share.
        views: one per condition.
        poster: the poster's table, where the accuracies may stand beside it.
        differs: per view, what differs from the poster's setting, and for which labels.
    """
    lines = [
        "# Comparison of training methods",
        "",
        "```bash",
        command,
        "```",
        "",
        *(f"- {name}: {value}" for name, value in facts.items()),
        "",
        "Accuracies are top-1 in percent on the test images: mean ± standard deviation (n − 1) over the "
        "seeds. That the test images are a sample is common to all methods and not in the ±. The standard "
        "error of a difference between two methods is √((s₁² + s₂²) / seeds), s being their ±. Costs count "
        "every earlier head.",
    ]
    for view, different in zip(views, differs, strict=True):
        lines += ["", f"## {view.title[0].upper()}{view.title[1:]}", "", *_accuracies(view, poster)]
        if poster:
            lines += ["", *_poster_note(view, poster, different)]
        lines += ["", *_figures(view), "", *_times(view)]
        failures = [failure for standing in view.standings for failure in standing.failures]
        if failures:
            lines += ["", "Runs that did not reach their end, and count in no mean:", ""]
            lines += [f"- {failure}" for failure in failures]
    return "\n".join(lines) + "\n"


def _accuracies(view: View, poster: Table | None) -> list[str]:
    rows = [["exit", "MFLOPs", *(standing.contender.label for standing in view.standings)]]
    for index, flops in enumerate(view.exit_flops):
        best = _best([standing.accuracy for standing in view.standings], index)
        cells = [
            _cell(standing.accuracy, index, best) + _beside(poster, standing, index)
            for standing in view.standings
        ]
        rows.append([str(index + 1), f"{flops / 1e6:.2f}", *cells])
    best = _best([standing.average for standing in view.standings], None)
    averages = [
        _cell(standing.average, None, best) + _beside(poster, standing, None) for standing in view.standings
    ]
    rows.append(["mean", "", *averages])
    for kind in AREAS:
        spreads = [standing.area(kind) for standing in view.standings]
        if any(spread is not None for spread in spreads):
            best = _best(spreads, None)
            cells = ["–" if spread is None else _cell(spread, None, best) for spread in spreads]
            rows.append([f"area, {kind}", "", *cells])
    return _table(rows)


def _times(view: View) -> list[str]:
    rows = [["method", "runs finished", "epochs", "minutes", "seconds per epoch", "images/s"]]
    for standing in view.standings:
        epochs = [outcome.epochs for outcome in standing.outcomes if outcome.measured]
        minutes, speed = standing.seconds, standing.images_per_second
        rows.append(
            [
                standing.contender.label,
                f"{len(standing.finished)} of {len(standing.outcomes)}",
                str(standing.outcomes[0].planned.config.epochs),
                _number(minutes, 1 / 60, 2) if minutes else "–",
                f"{float(minutes.mean) / epochs[0]:.1f}" if minutes else "–",
                _number(speed, 1, 0) if speed else "–",
            ]
        )
    note = (
        "Time includes the validation after each epoch. Images/s counts every pass over the data: an outer "
        "epoch of Meta-GF makes several, which are shorter where an exit is early."
    )
    return ["Time:", "", *_table(rows), "", note]


def _figures(view: View) -> list[str]:
    return [
        f"![Accuracy under a budget](budgeted-{view.key}.png)",
        "",
        "Thresholds are fitted on the validation images; cost and accuracy are those of the test images.",
        "",
        f"![Accuracy of every exit](exits-{view.key}.png)",
        "",
        f"![Validation accuracy over training time](learning-{view.key}.png)",
    ]


def _poster_note(view: View, poster: Table, differs: Mapping[str, Sequence[str]]) -> list[str]:
    note = f"In brackets: Table {poster.number} of the poster ({poster.architecture}). {poster.source}."
    if not differs:
        return [note, "", f"The setting is the poster's (recipe: {poster.recipe_source})."]
    everyone = len(view.standings)
    lines = [
        f"- {phrase}" + ("" if len(labels) == everyone else f": {', '.join(labels)}")
        for phrase, labels in differs.items()
    ]
    head = "**The setting is not the poster's**; the bracketed numbers are no target for it. Differences:"
    return [note, "", head, "", *lines, "", f"The poster's recipe is that of {poster.recipe_source}."]


def _beside(poster: Table | None, standing: MethodSummary, index: int | None) -> str:
    if poster is None or standing.contender.method not in poster.accuracy:
        return ""
    theirs = poster.accuracy[standing.contender.method]
    return f" ({100 * (float(np.mean(theirs)) if index is None else theirs[index]):.2f})"


def _best(spreads: Sequence[Spread | None], index: int | None) -> float | None:
    """Return the highest mean where there is something to compare."""
    means = [_of(spread.mean, index) for spread in spreads if spread is not None]
    return max(means) if len(means) > 1 else None


def _cell(spread: Spread | None, index: int | None, best: float | None) -> str:
    if spread is None:
        return "failed"
    mean = _of(spread.mean, index)
    text = f"{100 * mean:.2f}"
    if best is not None and mean >= best:
        text = f"**{text}**"
    return text if spread.std is None else f"{text} ± {100 * _of(spread.std, index):.2f}"


def _number(spread: Spread, factor: float, digits: int) -> str:
    text = f"{factor * float(spread.mean):.{digits}f}"
    return text if spread.std is None else f"{text} ± {factor * float(spread.std):.{digits}f}"


def _of(values: Any, index: int | None) -> float:
    return float(values if index is None else values[index])


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return [head, "|" + "---|" * len(rows[0]), *body]
