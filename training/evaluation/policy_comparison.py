"""Every policy under every confidence measure, on images that none was fitted on: a table and a figure.

`policies.json` holds: images, budgets_flops, and `candidates`, a list of {measure, policy, options, accuracy
and spent_flops under each budget, mean_accuracy, gain, standard_error}; the gain is the mean over the budgets
against the geometric policy on max_probability, paired by image, at what each really spent. `policies.png`
draws the differences in accuracy under each budget.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Column, Table

from training.evaluation.candidates import (
    ALL_CANDIDATES,
    DEFAULT_CANDIDATE,
    POLICY_RIVALS,
    Candidate,
    gain_at_equal_cost,
    outcome,
    spread_budgets,
)
from training.evaluation.evaluation import Scored
from training.evaluation.learned_scores import LEARNED
from training.evaluation.plots import Line, gains_over_flops


@dataclass(frozen=True)
class PolicyScore:
    """The result of one candidate; accuracies lie in 0..1, costs are FLOPs per image."""

    candidate: Candidate
    accuracy: tuple[float, ...]
    spent_flops: tuple[float, ...]
    mean_accuracy: float
    gain: float
    standard_error: float


@dataclass(frozen=True)
class Comparison:
    """All candidates at the same budgets, on the same images."""

    images: int
    budgets_flops: tuple[float, ...]
    standings: tuple[PolicyScore, ...]


def compare(
    fitted: Mapping[str, Scored], measured: Mapping[str, Scored], exit_flops: Sequence[int]
) -> Comparison:
    """Fit every candidate, and judge it on other images.

    Args:
        fitted: by measure, the images to fit on; a measure that is missing does not compete. Learned scores
            (`training.evaluation.learned_scores`) are measures, too.
        measured: by measure, the images to judge on.
        exit_flops: K costs of leaving at an exit, in FLOPs per image, rising.
    """
    budgets = spread_budgets(exit_flops)
    learned = [Candidate(score, policy) for score in LEARNED for policy in POLICY_RIVALS]
    candidates = [candidate for candidate in (*ALL_CANDIDATES, *learned) if candidate.measure in fitted]
    outcomes = [
        outcome(
            candidate.fit(fitted[candidate.measure], exit_flops),
            measured[candidate.measure],
            budgets,
            exit_flops,
        )
        for candidate in track(candidates, "comparing policies")
    ]
    base = outcomes[candidates.index(DEFAULT_CANDIDATE)]
    standings = [
        PolicyScore(
            candidate,
            tuple(found.accuracy.tolist()),
            tuple(found.spent_flops.tolist()),
            float(found.accuracy.mean()),
            *gain_at_equal_cost(found, base),
        )
        for candidate, found in zip(candidates, outcomes, strict=True)
    ]
    images = outcomes[0].right.shape[1]
    return Comparison(images, tuple(budgets), tuple(standings))


def show(comparison: Comparison, console: Console) -> None:
    """Print every candidate's accuracy over all budgets and at a few of them, the best first."""
    shown = range(1, len(comparison.budgets_flops), 3)
    at = [f"@{comparison.budgets_flops[index] / 1e6:.1f}M" for index in shown]
    title = f"accuracy % on {comparison.images:,} images, mean over {len(comparison.budgets_flops)} budgets"
    table = Table(Column("measure, policy", no_wrap=True), "mean", "gain", "± error", *at, title=title)
    for standing in sorted(comparison.standings, key=lambda standing: -standing.mean_accuracy):
        table.add_row(
            str(standing.candidate),
            f"{100 * standing.mean_accuracy:.2f}",
            f"{100 * standing.gain:+.2f}",
            f"{100 * standing.standard_error:.2f}",
            *(f"{100 * standing.accuracy[index]:.2f}" for index in shown),
        )
    console.print(table)


def write(comparison: Comparison, folder: Path, title: str) -> None:
    """Write `policies.json` and `policies.png` into `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        "images": comparison.images,
        "budgets_flops": list(comparison.budgets_flops),
        "candidates": [
            {
                "measure": standing.candidate.measure,
                "policy": standing.candidate.policy.name,
                "options": standing.candidate.policy.options,
                "accuracy": list(standing.accuracy),
                "spent_flops": list(standing.spent_flops),
                "mean_accuracy": standing.mean_accuracy,
                "gain": standing.gain,
                "standard_error": standing.standard_error,
            }
            for standing in comparison.standings
        ],
    }
    (folder / "policies.json").write_text(json.dumps(values, indent=2) + "\n")
    base = next(standing for standing in comparison.standings if standing.candidate == DEFAULT_CANDIDATE)
    lines = [
        Line(
            str(standing.candidate),
            standing.candidate.measure,
            [after - before for after, before in zip(standing.accuracy, base.accuracy, strict=True)],
        )
        for standing in comparison.standings
    ]
    gains_over_flops(folder / "policies.png", title, comparison.budgets_flops, lines)
