"""Joint training: the plain sum of the exits' losses, the baseline of the multi-exit literature.

Source: Huang et al., "Multi-Scale Dense Networks", ICLR 2018, eq. 1 with every weight at 1.
"""

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from training.methods.interface import MultiExitProblem
from training.methods.step_methods import StepMethod


class JointOptions(BaseModel):
    """Joint training has no options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Joint(StepMethod):
    """Steps along the gradient of the sum of all exits' losses.

    Args:
        problem: what is trained.
        options: none.
    """

    def __init__(self, problem: MultiExitProblem, options: JointOptions) -> None:
        super().__init__(problem)

    def backward(self, losses: Sequence[Tensor], step: int) -> None:
        """Set every parameter's gradient to that of the sum."""
        torch.stack(list(losses)).sum().backward()  # type: ignore[no-untyped-call]
