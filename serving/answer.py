"""What a caller gets for one image."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says about one image.

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
