"""Which cuts get exits: candidates spread over the network's FLOPs, and the subset of their heads that pays.

Early cheap exits matter more than good late ones, and three or four that are spread are as good as many: of
all subsets the smallest is taken that is within one standard error of the best, in mean accuracy over budgets
of 30 to 80% of the original (`training.evaluation.exit_trials`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from training.adopting.config import AUTO
from training.adopting.network.network import Network
from training.adopting.network.paths import Cut
from training.calibration.collect import Labels, Probabilities
from training.errors import ConfigError
from training.evaluation.exit_trials import best_and_fewest, try_subsets
from training.models.flops import SegmentFlops

CANDIDATES = 6
"""Heads that are trained for `--exits auto`."""

_FIRST, _LAST = 0.14, 0.76
_BUDGETS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
_PERCENT = "%"


def chosen_cuts(network: Network, found: Sequence[Cut], wanted: str) -> tuple[list[Cut], int | None]:
    """Return the cuts that get a head.

    Args:
        network: the network.
        found: all places where it can be cut.
        wanted: `auto`, `auto:K`, or tensors and shares (`30%`) with commas between.

    Returns:
        The cuts in order, and how many of them may stay exits; None where all do as they are named.

    Raises:
        ConfigError: no such tensor, or a share or a number that is none.
    """
    if wanted == AUTO or wanted.startswith(f"{AUTO}:"):
        count = wanted.partition(":")[2] or str(CANDIDATES)
        if not count.isdecimal() or not 1 <= int(count) <= 2 * CANDIDATES:
            raise ConfigError(f"--exits {wanted}: expected auto:K with K from 1 to {2 * CANDIDATES}")
        spread = np.linspace(_FIRST, _LAST, max(CANDIDATES, int(count)))
        return _distinct([_nearest(found, share) for share in spread]), int(count)
    by_name = {cut.tensor: cut for cut in found}
    cuts = []
    for word in (word.strip() for word in wanted.split(",")):
        if word.endswith(_PERCENT):
            cuts.append(_nearest(found, _share(word)))
        elif word in by_name:
            cuts.append(by_name[word])
        else:
            listed = ", ".join(f"{cut.tensor} ({cut.share:.0%})" for cut in found)
            raise ConfigError(f"--exits {word}: {network.name} has no such place to cut; it has {listed}")
    return _distinct(cuts), None


@dataclass(frozen=True)
class Choice:
    """Which early exits stay.

    Args:
        kept: their indices.
        mean: accuracy, averaged over the budgets.
        best: the same for the best subset of all.
        richest: accuracy at the largest budget, 80% of the original.
    """

    kept: tuple[int, ...]
    mean: float
    best: float
    richest: float


def best_subset(
    probabilities: Probabilities,
    labels: Labels,
    segments: Sequence[SegmentFlops],
    original: int,
    most: int,
    seed: int = 0,
) -> Choice:
    """Choose which exits stay.

    Args:
        probabilities: [N, K, C], the last exit's among them, of images that may be fitted on.
        labels: [N].
        segments: costs of the network with all its heads, in FLOPs or in any other unit.
        original: cost of the network without heads, likewise.
        most: how many early exits may stay.
        seed: of the halves.
    """
    last = len(segments) - 1
    early = (subset for size in range(1, most + 1) for subset in combinations(range(last), size))
    trials = try_subsets(
        probabilities,
        labels,
        segments,
        [(*subset, last) for subset in early],
        [share * original for share in _BUDGETS],
        seed,
    )
    best, chosen = best_and_fewest(trials)
    return Choice(chosen[:-1], trials[chosen].mean, trials[best].mean, trials[chosen].richest)


def _nearest(found: Sequence[Cut], share: float) -> Cut:
    return min(found, key=lambda cut: abs(cut.share - share))


def _distinct(cuts: Sequence[Cut]) -> list[Cut]:
    return sorted(dict.fromkeys(cuts), key=lambda cut: cut.flops)


def _share(word: str) -> float:
    try:
        share = float(word.removesuffix(_PERCENT)) / 100
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise ConfigError(f"--exits {word}: expected a share of the network's FLOPs between 0% and 100%")
    return share
