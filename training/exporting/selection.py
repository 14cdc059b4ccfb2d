"""Which confidence measure and policy a bundle is exported with: what does best where it was not fitted.

Cross-fitting on the half of the calibration that may be fitted on: of four folds, three fit everything
(temperatures, thresholds) and the fourth is judged. The images kept for certifying, and test images, have no
say. First the measures compete under the geometric policy, then the policies under the measure that won. A
challenger needs a gain of more than two standard errors over the simpler one, at what both really spend: with
one, chance alone would often find a winner among eight.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from serving.policy.confidence import MEASURES
from training.calibration.collect import Labels, Probabilities, scorers_of
from training.calibration.temperature import fit_temperatures
from training.evaluation.candidates import (
    DEFAULT_CANDIDATE,
    POLICY_RIVALS,
    Candidate,
    CandidateResult,
    gain_at_equal_cost,
    outcome,
    pooled,
    spread_budgets,
)
from training.evaluation.curves import Bools
from training.evaluation.evaluation import Scored

FOLDS = 4
LEAST_ERRORS = 2.0
"""By how many standard errors a challenger has to win."""
LEAST_IMAGES = 40
"""With fewer images than this nothing is compared: MSDNet's own procedure is taken."""
MOST_IMAGES = 8_000


@dataclass(frozen=True)
class SelectionRound:
    """One candidate, judged: mean accuracy over the budgets, and its gain over the one it had to beat."""

    candidate: Candidate
    accuracy: float
    gain: float
    standard_error: float


@dataclass(frozen=True)
class Selection:
    """The choice, and the candidates compared for it, in order; nothing where images were too few."""

    chosen: Candidate
    rounds: tuple[SelectionRound, ...]
    images: int


def select(
    probabilities: Probabilities, labels: Labels, exit_flops: Sequence[int], seed: int = 0
) -> Selection:
    """Choose a measure and a policy by cross-fitting.

    Args:
        probabilities: [N, K, C] of images that may be fitted on.
        labels: [N].
        exit_flops: K costs of leaving at an exit, in FLOPs per image, rising.
        seed: of the folds.
    """
    order = np.random.default_rng(seed).permutation(len(labels))[:MOST_IMAGES]
    if len(order) < LEAST_IMAGES or len(exit_flops) < 2:
        return Selection(DEFAULT_CANDIDATE, (), len(order))
    fold_of = np.arange(len(order)) % FOLDS
    folds = [_Fold.of(probabilities[order], labels[order], fold_of == fold) for fold in range(FOLDS)]
    chosen, held = DEFAULT_CANDIDATE, _outcome(folds, DEFAULT_CANDIDATE, exit_flops)
    rounds = [SelectionRound(chosen, float(held.accuracy.mean()), 0.0, 0.0)]
    for challengers in (_measures, _policies):
        candidates = challengers(chosen)
        found = [_outcome(folds, candidate, exit_flops) for candidate in candidates]
        held_against = [
            SelectionRound(candidate, float(one.accuracy.mean()), *gain_at_equal_cost(one, held))
            for candidate, one in zip(candidates, found, strict=True)
        ]
        rounds += held_against
        best = max(range(len(candidates)), key=lambda index: held_against[index].gain)
        if held_against[best].gain > LEAST_ERRORS * held_against[best].standard_error:
            chosen, held = candidates[best], found[best]
    return Selection(chosen, tuple(rounds), len(order))


def show(selection: Selection, console: Console) -> None:
    """Print what was compared and what was chosen."""
    if selection.rounds:
        title = f"measures, then policies, cross-fitted on {selection.images:,} validation images"
        table = Table(Column("measure, policy", no_wrap=True), "accuracy %", "gain", "± error", title=title)
        for outcome in selection.rounds:
            table.add_row(
                str(outcome.candidate),
                f"{100 * outcome.accuracy:.2f}",
                f"{100 * outcome.gain:+.2f}",
                f"{100 * outcome.standard_error:.2f}",
            )
        console.print(table)
        console.print(f"chosen on validation images: {selection.chosen}", highlight=False)
    else:
        console.print(f"too few validation images to compare on: {selection.chosen}", highlight=False)


@dataclass(frozen=True, eq=False)
class _Fold:
    """By measure: the images to fit on and those to judge on, the former's temperatures applied to both."""

    fitted: Mapping[str, Scored]
    judged: Mapping[str, Scored]

    @classmethod
    def of(cls, probabilities: Probabilities, labels: Labels, held_out: Bools) -> "_Fold":
        scorers = scorers_of(fit_temperatures(probabilities[~held_out], labels[~held_out]))
        fitted, judged = (
            {name: Scored.of(probabilities[part], labels[part], scorer) for name, scorer in scorers.items()}
            for part in (~held_out, held_out)
        )
        return cls(fitted, judged)


def _outcome(folds: Sequence[_Fold], candidate: Candidate, exit_flops: Sequence[int]) -> CandidateResult:
    budgets, measure = spread_budgets(exit_flops), candidate.measure
    policies = [candidate.fit(fold.fitted[measure], exit_flops) for fold in folds]
    return pooled(
        [
            outcome(policy, fold.judged[measure], budgets, exit_flops)
            for policy, fold in zip(policies, folds, strict=True)
        ]
    )


def _measures(base: Candidate) -> list[Candidate]:
    return [Candidate(measure, base.policy) for measure in MEASURES if measure != base.measure]


def _policies(base: Candidate) -> list[Candidate]:
    return [Candidate(base.measure, policy) for policy in POLICY_RIVALS if policy != base.policy]
