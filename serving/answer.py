"""The answer to one image."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from serving.rich_display import Bar, card, png


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

    def _bar(self, taken: int) -> Bar:
        """Show the score beside its threshold; the confidence, where the score is no share."""
        words = f"{self.class_name} {self.confidence:.3f}"
        if self.score != self.confidence:
            words += f" · score {self.score:.3f}"
        if self.threshold is not None:
            words += f" {'≥' if self.leaves else '<'} {self.threshold:.3f}"
        is_share = 0 <= self.score <= 1
        share, mark = (self.score, self.threshold) if is_share else (self.confidence, None)
        return Bar(f"exit {self.exit}", share, words, mark, strong=self.exit == taken)


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
        budget_seconds: what an image could have taken on average, where the budget is a time.
        seconds: what leaving there takes, by what the stages took when the model was loaded; None where the
            budget is no time.
        image: uint8 [H, W, 3], the image as the model saw it, where every exit was asked for in Python; for
            notebooks, which show it.
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
    budget_seconds: float | None = None
    seconds: float | None = None
    image: npt.NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)

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

    def _repr_html_(self) -> str:
        """Show the answer in a notebook: the image, and a bar for every exit that was asked."""
        spent, budget = _mflops(self.flops), _mflops(self.budget_flops)
        facts = [f"{self.model}: left at exit {self.exit}", f"spent {spent} of {budget} MFLOPs"]
        if self.exits is None:
            bars = [Bar(f"exit {self.exit}", self.confidence, f"{self.confidence:.3f}", strong=True)]
        else:
            bars = [report._bar(self.exit) for report in self.exits]
        return card(self.class_name, facts, bars, None if self.image is None else png(self.image))


def _mflops(flops: float) -> str:
    return f"{flops / 1e6:,.3f}".rstrip("0").rstrip(".")
