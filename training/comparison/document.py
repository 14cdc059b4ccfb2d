"""A comparison as it is written down: report.json, report.md, figures, and report.html with all in one."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from serving.system.atomic import write_atomically
from training.comparison import figures
from training.comparison.markdown import markdown
from training.comparison.page import page
from training.comparison.poster import Table, differences
from training.comparison.summary import MethodSummary, Spread, View
from training.config import FitConfig


@dataclass(frozen=True)
class Comparison:
    """The contents of a report.

    Args:
        command: the command that made it.
        facts: what all runs share, for the report's head: names and values.
        views: one per condition.
        poster: the table beside which the accuracies stand, where there is one.
        images: how many images were trained, validated and tested on, by these words.
    """

    command: str
    facts: dict[str, Any]
    views: tuple[View, ...]
    poster: Table | None
    images: dict[str, int]

    def differs(self, view: View) -> dict[str, list[str]]:
        """Return, per phrase of what differs from the poster's setting, the labels that it holds for."""
        found: dict[str, list[str]] = {}
        for standing in view.standings if self.poster else ():
            config: FitConfig = standing.outcomes[0].planned.config
            options = [f"{key}={value}" for key, value in standing.contender.method_option.items()]
            phrases = differences(
                self.poster,  # type: ignore[arg-type]
                config,
                view.exit_flops,
                self.images["train"],
                self.images["test"],
            )
            for phrase in [*phrases, *(f"option {option}" for option in options)]:
                found.setdefault(phrase, []).append(standing.contender.label)
        return found


def write_report(comparison: Comparison, folder: Path) -> None:
    """Write `report.json`, `report.md`, three figures per view, and `report.html` into `folder`."""
    drawn: dict[str, Figure] = {}
    for view in comparison.views:
        seeds = len(view.standings[0].outcomes)
        title = f"{comparison.facts['data set']}, {comparison.facts['model']}, {view.title}" + (
            f" (mean ± std of {seeds} seeds)" if seeds > 1 else " (one seed)"
        )
        drawn[f"budgeted-{view.key}.png"] = figures.budgeted(view, title)
        drawn[f"exits-{view.key}.png"] = figures.exits(view, title, comparison.poster)
        drawn[f"learning-{view.key}.png"] = figures.learning(view, title)
    for name, figure in drawn.items():
        figures.save(figure, folder / name)
    write_atomically(folder / "report.json", json.dumps(as_json(comparison), indent=1) + "\n")
    differs = [comparison.differs(view) for view in comparison.views]
    text = markdown(comparison.command, comparison.facts, comparison.views, comparison.poster, differs)
    write_atomically(folder / "report.md", text)
    pictures = {name: figures.svg(figure) for name, figure in drawn.items()}
    write_atomically(folder / "report.html", page(text, pictures))


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as plain values; accuracies in 0..1, FLOPs per image, exits numbered from 1."""
    return {
        "command": comparison.command,
        "facts": comparison.facts,
        "images": comparison.images,
        "poster": None
        if comparison.poster is None
        else {"source": comparison.poster.source, "table": comparison.poster.number},
        "views": [
            {
                "condition": view.key,
                "title": view.title,
                "differs_from_poster": comparison.differs(view),
                "methods": [_standing(standing, view, comparison.poster) for standing in view.standings],
            }
            for view in comparison.views
        ],
    }


def _standing(standing: MethodSummary, view: View, table: Table | None) -> dict[str, Any]:
    contender, curve = standing.contender, standing.curve()
    poster: Sequence[float | None] = [None] * len(view.exit_flops)
    if table:
        poster = table.accuracy.get(contender.method, poster)
    accuracy = standing.accuracy
    return {
        "label": contender.label,
        "method": contender.method,
        "method_option": dict(contender.method_option),
        "settings": dict(contender.settings),
        "exits": [
            {
                "exit": index + 1,
                "flops": flops,
                "accuracy_mean": float(accuracy.mean[index]) if accuracy else None,
                "accuracy_std": _at(accuracy, index),
                "poster_accuracy": poster[index],
            }
            for index, flops in enumerate(view.exit_flops)
        ],
        "average_accuracy": _spread(standing.average),
        "area_budgeted": _spread(standing.area("budgeted")),
        "area_anytime": _spread(standing.area("anytime")),
        "seconds": _spread(standing.seconds),
        "images_per_second": _spread(standing.images_per_second),
        "curve": []
        if curve is None
        else [
            {"spent_flops": float(flops), "accuracy_mean": float(mean), "accuracy_std": _at(curve[1], index)}
            for index, (flops, mean) in enumerate(zip(curve[0], curve[1].mean, strict=True))
        ],
        "runs": [
            {
                "folder": f"runs/{outcome.planned.folder.name}",
                "seed": outcome.planned.config.seed,
                "epochs": outcome.epochs,
                "seconds": outcome.seconds,
                "failure": outcome.failure,
                "exit_accuracy": list(outcome.measured.exit_accuracy) if outcome.measured else None,
            }
            for outcome in standing.outcomes
        ],
    }


def _spread(spread: Spread | None) -> dict[str, float | None] | None:
    if spread is None:
        return None
    return {"mean": float(spread.mean), "std": None if spread.std is None else float(spread.std)}


def _at(spread: Spread | None, index: int) -> float | None:
    return None if spread is None or spread.std is None else float(spread.std[index])
