"""Trials of subsets of the exits: a head costs every image that goes past it, and some never earn that.

Thresholds are fitted for each subset on one half of the images that may be fitted on. The other half judges
it, by the mean accuracy over some budgets. A subset that cannot meet a budget, since its first exit is
dearer, has no answer there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.calibration.collect import Labels, Probabilities, scorers_of
from training.evaluation.candidates import DEFAULT_CANDIDATE, gain, outcome
from training.evaluation.curves import Floats
from training.evaluation.evaluation import Scored
from training.models.flops import SegmentFlops

Subset = tuple[int, ...]
"""Indices of exits, rising, the last exit's among them."""


@dataclass(frozen=True, eq=False)
class ExitTrial:
    """The result of a subset on the N images that judge it.

    Args:
        right: float64 [N], the share of the budgets under which each image is answered rightly.
        richest: accuracy under the largest budget; 0 where it cannot be met.
    """

    right: Floats
    richest: float

    @property
    def mean(self) -> float:
        """Return the accuracy, averaged over the budgets."""
        return float(self.right.mean())


def try_subsets(
    probabilities: Probabilities,
    labels: Labels,
    segments: Sequence[SegmentFlops],
    subsets: Iterable[Subset],
    budgets: Sequence[float],
    seed: int = 0,
) -> dict[Subset, ExitTrial]:
    """Fit and judge every subset.

    Args:
        probabilities: [N, K, C] of images that may be fitted on.
        labels: [N].
        segments: costs of the K segments, in FLOPs or in any other unit.
        subsets: to try.
        budgets: in the same unit, rising.
        seed: of the halves.
    """
    fitting = np.random.default_rng(seed).permutation(len(labels)) < len(labels) // 2
    scorer = scorers_of(np.ones(len(segments)))[DEFAULT_CANDIDATE.measure]
    fitted, judged = (Scored.of(probabilities[half], labels[half], scorer) for half in (fitting, ~fitting))
    return {subset: _trial(subset, fitted, judged, segments, budgets) for subset in subsets}


def best_and_fewest(trials: Mapping[Subset, ExitTrial]) -> tuple[Subset, Subset]:
    """Return the best subset, and the best of the smallest that are within one standard error of it."""
    best = max(trials, key=lambda subset: trials[subset].mean)
    good = [subset for subset, trial in trials.items() if _within(trial.right, trials[best].right)]
    fewest = min(map(len, good))
    return best, max((one for one in good if len(one) == fewest), key=lambda subset: trials[subset].mean)


def _trial(
    subset: Subset, fitted: Scored, judged: Scored, segments: Sequence[SegmentFlops], budgets: Sequence[float]
) -> ExitTrial:
    columns = list(subset)
    bodies = np.cumsum([segment.body for segment in segments])[columns]
    heads = np.cumsum([segments[index].head for index in columns])
    costs = (bodies + heads).astype(np.int64).tolist()
    met = [budget for budget in budgets if budget >= costs[0]]
    if not met:
        return ExitTrial(np.zeros(len(judged.score)), 0.0)
    policy = DEFAULT_CANDIDATE.fit(Scored(fitted.score[:, columns], fitted.correct[:, columns]), costs)
    seen = Scored(judged.score[:, columns], judged.correct[:, columns])
    right = outcome(policy, seen, met, costs).right
    return ExitTrial(np.asarray(right.sum(axis=0) / len(budgets), np.float64), float(right[-1].mean()))


def _within(right: Floats, best: Floats) -> bool:
    lost, error = gain(best, right)
    return lost <= error
