"""The answer to one image."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class ExitReport:
    """The answer of one exit to an image.

    Attributes:
        exit: from 1.
        class_name: of the likeliest class.
        class_index: the same as an index.
        confidence: its probability.
        score: what is held against the threshold: the confidence, or another measure.
        threshold: an image leaves where its score reaches it; None at the last exit, where all leave.
        leaves: whether the image would leave here, had it not left before.
        flops: what leaving here costs, every earlier head included.
    """

    exit: int
    class_name: str
    class_index: int
    confidence: float
    score: float
    threshold: float | None
    leaves: bool
    flops: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer to one image.

    Attributes:
        class_name: of the likeliest class.
        class_index: the same as an index into the bundle's classes, from 0.
        confidence: its probability.
        exit: where the image left, from 1.
        flops: what that cost, every earlier head included.
        budget_flops: what it could have cost on average, in FLOPs per image.
        model: the model's name.
        deadline_met: whether the answer was there by the deadline; None where none was asked for.
        probabilities: float32 [C], of all classes; None where they were not asked for.
        budget_share: what a brown-out left of the budget asked for; 1 where nothing lowered it.
        exits: what every exit says; None where that was not asked for.
    """

    class_name: str
    class_index: int
    confidence: float
    exit: int
    flops: int
    budget_flops: float
    model: str
    deadline_met: bool | None = None
    probabilities: npt.NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    exits: tuple[ExitReport, ...] | None = None
    budget_share: float = 1.0

    def top(self, count: int) -> list[tuple[int, float]]:
        """Return the indices and probabilities of the likeliest classes, likeliest first.

        Args:
            count: of classes; all where there are fewer.

        Raises:
            ValueError: probabilities were not asked for.
        """
        if self.probabilities is None:
            raise ValueError("the answer has no probabilities: ask for them (ClassifyOptions.probabilities)")
        kept = np.argsort(-self.probabilities, kind="stable")[:count]
        return list(zip(kept.tolist(), self.probabilities[kept].tolist(), strict=True))
