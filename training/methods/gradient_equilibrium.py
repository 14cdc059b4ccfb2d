"""Gradient equilibrium (GE): the gradient that reaches the trunk is the mean over the exits behind it.

Source: Li, Zhang, Qi, Yang, Huang, "Improved Techniques for Training Adaptive Deep Networks", ICCV 2019;
public code: github.com/kalviny/IMTA. At exit i of n the gradient is rescaled twice on its way back: all that
comes from exit i and behind it by 1/(n − i + 1), and what comes from behind alone by n − i before that. The
factors telescope: with G_i for the gradient at the features of exit i and h_i for what head i sends there,
    G_i = (h_i + (n − i) · G_{i+1}) / (n − i + 1),
so G_i is the plain sum of the n − i + 1 exits' gradients, divided by their number. Heads are not rescaled.

Hence no rescaling layer is needed: one joint backward pass, and every parameter's gradient divided by the
number of exits that reach it (1 for a head's own).

Deviations:
  - Every feature is rescaled, as the definition says. The authors' MSDNet does so to the coarsest scale only.
  - The divisor is the number of exits that a parameter *reaches*. MSDNet's finer-scale tensors of segment i
    that serve later exits only are divided by those n − i, where layers in the features' path would give
    n − i + 1: for them too this is the mean over the exits that use them.
  - With half-detached features (`--feature-split`) rows of one tensor serve different exits: every row is
    divided by the number of exits that reach it, so that channels of one exit keep its gradient whole.
"""

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from training.methods.interface import MultiExitProblem
from training.methods.step_methods import StepMethod


class GradientEquilibriumOptions(BaseModel):
    """Gradient equilibrium has no options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class GradientEquilibrium(StepMethod):
    """Steps along each parameter's mean gradient over the exits that reach it.

    Args:
        problem: what is trained.
        options: none.
    """

    def __init__(self, problem: MultiExitProblem, options: GradientEquilibriumOptions) -> None:
        super().__init__(problem)
        sharers = [reached.sum(0).clamp(min=1) for reached in problem.row_reach]
        pairs = list(zip(problem.parameters, sharers, strict=True))
        alike = [(p, float(n)) for p, n in pairs if len(n) == 1 and n > 1]
        self._shared, self._sharers = [p for p, _ in alike], [n for _, n in alike]
        self._by_row = [(p, n.view(-1, *[1] * (p.dim() - 1)).to(p.detach())) for p, n in pairs if len(n) > 1]

    def backward(self, losses: Sequence[Tensor], step: int) -> None:
        """Set the gradients to those of the sum, each divided by the number of exits behind it."""
        torch.stack(list(losses)).sum().backward()  # type: ignore[no-untyped-call]
        if self._shared:
            gradients = [p.grad for p in self._shared if p.grad is not None]
            torch._foreach_div_(gradients, self._sharers)
        for parameter, sharers in self._by_row:
            if parameter.grad is not None:
                parameter.grad.div_(sharers)
