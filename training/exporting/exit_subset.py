"""Which exits a bundle has: a head costs every image that goes past it, and some never earn that.

`--exits auto` tries every subset that keeps the last exit (`training.evaluation.exit_trials`), under budgets
between the cheapest exit and the full depth of the whole net. The smallest subset within one standard error
of the best is taken. Images kept for certifying, and test images, have no say.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import onnx
from onnx.utils import Extractor

from training.calibration.collect import Labels, Probabilities
from training.errors import ConfigError
from training.evaluation.candidates import spread_budgets
from training.evaluation.exit_trials import best_and_fewest, try_subsets
from training.exporting.graph import IMAGES, Boundary
from training.models.flops import SegmentFlops, exit_flops

AUTO = "auto"
MOST_EXITS = 12
"""Of which `auto` tries every subset: 2,048 of them."""
EXITS_KEPT = "exits_kept"
"""The option of an architecture that names them in a manifest, where not all are kept."""


@dataclass(frozen=True)
class ExitChoice:
    """The exits that stay, and what that rests on.

    Args:
        kept: their indices, the last exit's among them.
        exits: how many there were.
        accuracy: of the subset, averaged over the budgets; None where it was named.
        all_accuracy: the same with all exits.
        best_accuracy: the same with the best subset.
        images: how many judged it.
    """

    kept: tuple[int, ...]
    exits: int
    accuracy: float | None = None
    all_accuracy: float | None = None
    best_accuracy: float | None = None
    images: int = 0

    @property
    def dropped(self) -> tuple[int, ...]:
        """The indices of the exits that do not stay."""
        return tuple(index for index in range(self.exits) if index not in self.kept)

    def __str__(self) -> str:
        """Say which exits stay and which are dropped, and why."""
        kept, dropped = (
            ", ".join(str(index + 1) for index in indices) for indices in (self.kept, self.dropped)
        )
        text = f"exits {kept} of {self.exits} are kept" + (f", {dropped} dropped" if dropped else "")
        if self.accuracy is None or self.all_accuracy is None or self.best_accuracy is None:
            return text
        return (
            f"{text}: {self.accuracy:.2%} right on average over budgets, {self.all_accuracy:.2%} with all "
            f"exits and {self.best_accuracy:.2%} with the best of them, on {self.images:,} validation images"
        )


def named_exits(text: str, exits: int) -> tuple[int, ...]:
    """Read `1,3,5`.

    Args:
        text: numbers from 1, with commas between.
        exits: how many the network has.

    Returns:
        Their indices from 0, in order.

    Raises:
        ConfigError: not such numbers, one that does not exist, or the last exit is not among them.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdecimal() for word in words):
        raise ConfigError(f"--exits {text}: expected {AUTO}, or numbers of exits such as 1,3,{exits}")
    numbers = sorted({int(word) for word in words})
    unknown = [number for number in numbers if not 1 <= number <= exits]
    if unknown:
        raise ConfigError(f"--exits {text}: the network has exits 1 to {exits}, found {unknown[0]}")
    if numbers[-1] != exits:
        raise ConfigError(f"--exits {text}: the last exit, {exits}, answers what no other does; name it, too")
    return tuple(number - 1 for number in numbers)


def best_exits(
    probabilities: Probabilities, labels: Labels, segments: Sequence[SegmentFlops], seed: int = 0
) -> ExitChoice:
    """Choose the exits that pay.

    Args:
        probabilities: [N, K, C] of images that may be fitted on.
        labels: [N].
        segments: the costs of the K segments.
        seed: of the halves.

    Raises:
        ConfigError: there are too many exits to try every subset.
    """
    exits = len(segments)
    if exits > MOST_EXITS:
        raise ConfigError(
            f"--exits {AUTO} tries every subset of up to {MOST_EXITS} exits, and the network has {exits}: "
            "name those to keep"
        )
    everything = tuple(range(exits))
    trials = try_subsets(
        probabilities,
        labels,
        segments,
        [(*early, exits - 1) for size in range(exits) for early in combinations(range(exits - 1), size)],
        spread_budgets(exit_flops(list(segments))),
        seed,
    )
    best, kept = best_and_fewest(trials)
    return ExitChoice(
        kept,
        exits,
        accuracy=trials[kept].mean,
        all_accuracy=trials[everything].mean,
        best_accuracy=trials[best].mean,
        images=len(trials[kept].right),
    )


def join_segments(
    parts: Sequence[Boundary], segments: Sequence[SegmentFlops], kept: Sequence[int]
) -> tuple[list[Boundary], list[SegmentFlops]]:
    """Make one segment of all up to each exit that stays; the heads between fall away.

    Args:
        parts: the boundaries of all K segments.
        segments: their costs.
        kept: indices of the exits that stay, rising, the last among them.
    """
    boundaries, costs = [], []
    inputs = parts[0].inputs
    for before, index in pairwise([-1, *kept]):
        boundaries.append(Boundary(inputs, parts[index].outputs))
        body = sum(segment.body for segment in segments[before + 1 : index + 1])
        costs.append(SegmentFlops(body, segments[index].head))
        inputs = parts[index].outputs[1:]
    return boundaries, costs


def without_other_heads(whole: onnx.ModelProto, parts: Sequence[Boundary]) -> onnx.ModelProto:
    """Keep of a whole net what its boundaries need: what only served other exits is gone.

    Args:
        whole: with every boundary's tensors among its outputs.
        parts: the boundaries that stay.
    """
    pruned: onnx.ModelProto = Extractor(whole).extract_model(
        [IMAGES], [spec.name for part in parts for spec in part.outputs]
    )
    return pruned
