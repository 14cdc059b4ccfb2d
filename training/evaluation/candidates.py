"""Candidates for turning budgets into thresholds: confidence measures times policies, judged alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.bundle import Named
from serving.bundle.served_policy import DEFAULT_POLICY, read_policy
from serving.policy.confidence import MEASURES
from serving.policy.plan import exits_taken
from serving.policy.registry import fit_policy
from training.evaluation.curves import Bools, BudgetPolicy, Floats
from training.evaluation.evaluation import Scored

BUDGETS = 12
"""Number of budgets for judging policies, evenly spread between the cheapest exit and full depth."""

POLICY_RIVALS = (
    DEFAULT_POLICY,
    *(Named(name="searched", options={"stiffness": stiffness}) for stiffness in (100.0, 20.0, 5.0)),
)


@dataclass(frozen=True)
class Candidate:
    """A confidence measure and a policy that cuts it."""

    measure: str
    policy: Named

    def __str__(self) -> str:
        options = ", ".join(f"{name} {value:g}" for name, value in self.policy.options.items())
        return f"{self.measure}, {self.policy.name}" + (f" ({options})" if options else "")

    def fit(self, fitted: Scored, exit_flops: Sequence[int]) -> BudgetPolicy:
        """Fit the policy on images that were scored by this measure."""
        return fit_policy(read_policy(self.policy), fitted.score, fitted.correct, exit_flops)


DEFAULT_CANDIDATE = Candidate("max_probability", DEFAULT_POLICY)
"""MSDNet's own procedure, which the others have to beat."""


@dataclass(frozen=True, eq=False)
class CandidateResult:
    """The result of a policy on N images under B budgets.

    Args:
        right: bool [B, N], whether the answer was right.
        spent_flops: float64 [B], the mean FLOPs per image.
    """

    right: Bools
    spent_flops: Floats

    @property
    def accuracy(self) -> Floats:
        """Return the accuracy under each budget, float64 [B]."""
        return np.asarray(self.right.mean(axis=1))

    @property
    def per_image(self) -> Floats:
        """Return the share of the budgets under which each image was answered rightly, float64 [N]."""
        return np.asarray(self.right.mean(axis=0))


def spread_budgets(exit_flops: Sequence[int], count: int = BUDGETS) -> list[float]:
    """Return budgets evenly spread between the cheapest exit and full depth, both excluded.

    >>> spread_budgets([100, 200], count=3)
    [125.0, 150.0, 175.0]
    """
    return [float(budget) for budget in np.linspace(exit_flops[0], exit_flops[-1], count + 2)[1:-1]]


def outcome(
    policy: BudgetPolicy, measured: Scored, budgets: Sequence[float], exit_flops: Sequence[int]
) -> CandidateResult:
    """Take measured images through a policy, one budget after the other."""
    rows, costs = np.arange(len(measured.score)), np.asarray(exit_flops, np.int64)
    right, spent = [], []
    for budget in budgets:
        exits = exits_taken(measured.score, policy.plan(budget).thresholds)
        right.append(measured.correct[rows, exits])
        spent.append(costs[exits].mean())
    return CandidateResult(np.stack(right), np.array(spent))


def pooled(outcomes: Sequence[CandidateResult]) -> CandidateResult:
    """Join outcomes of one policy on different images, under the same budgets."""
    images = [found.right.shape[1] for found in outcomes]
    spent = np.average([found.spent_flops for found in outcomes], axis=0, weights=images)
    return CandidateResult(np.concatenate([found.right for found in outcomes], axis=1), np.asarray(spent))


def gain_at_equal_cost(candidate: CandidateResult, base: CandidateResult) -> tuple[float, float]:
    """Return the mean gain over a base on the same images, and its standard error, in accuracy.

    Spending beyond the base is charged: a candidate's accuracy under a budget is compared with the accuracy
    that the base's curve has at the FLOPs that the candidate really spent.

    Args:
        candidate: under the same budgets, on the same images.
        base: what it has to beat.
    """
    found, error = gain(candidate.per_image, base.per_image)
    bought = np.interp(candidate.spent_flops, base.spent_flops, base.accuracy) - base.accuracy
    return found - float(bought.mean()), error


def gain(candidate: npt.NDArray[np.float64], base: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the mean gain over a base on the same images, and its standard error.

    Args:
        candidate: [N], per image.
        base: [N], on the same images.
    """
    apart = candidate - base
    return float(apart.mean()), float(apart.std() / np.sqrt(len(apart)))


ALL_CANDIDATES = tuple(Candidate(measure, policy) for measure in MEASURES for policy in POLICY_RIVALS)
