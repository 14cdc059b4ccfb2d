"""The exits' gradients as one matrix: what methods that weigh exits against each other work on."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ExitGradients:
    """Takes each exit's gradient over the shared parameters apart, and puts a combined one back.

    Shared parameters are those that at least two exits reach, here one flattened vector in the order of
    `parameters`; it is zero where an exit does not use them.

    Args:
        parameters: all parameters of the problem.
        reach: bool [exits, parameters].
    """

    def __init__(self, parameters: Sequence[nn.Parameter], reach: Tensor) -> None:
        shared = reach.sum(0) > 1
        self._shared = [p for p, is_shared in zip(parameters, shared.tolist(), strict=True) if is_shared]
        self._sizes = [parameter.numel() for parameter in self._shared]
        # Entries that an exit does not use are never written, so they stay zero from step to step.
        self.matrix = parameters[0].detach().new_zeros(len(reach), sum(self._sizes))
        slots = dict(zip(shared.nonzero().flatten().tolist(), range(len(self._shared)), strict=True))
        self._rows: list[list[Tensor]] = []  # per exit: where its gradients of shared parameters go
        self._used: list[list[nn.Parameter]] = []  # per exit: those parameters, and then its own
        for row, used in zip(self.matrix, reach, strict=True):
            parts = row.split_with_sizes(self._sizes) if self._sizes else ()
            mine = (used & shared).nonzero().flatten().tolist()
            own = (used & ~shared).nonzero().flatten().tolist()
            self._rows.append([parts[slots[i]].view_as(parameters[i]) for i in mine])
            self._used.append([parameters[i] for i in (*mine, *own)])

    def fill(self, losses: Sequence[Tensor]) -> Tensor:
        """Return every exit's gradient over the shared parameters [exits, size], until the next call.

        The parameters that one exit alone reaches get its gradient as theirs. One forward pass serves all
        exits; every backward pass stops where its exit's graph does.

        Args:
            losses: of all exits, a scalar each, not stacked.
        """
        for exit_index, (loss, row, used) in enumerate(zip(losses, self._rows, self._used, strict=True)):
            gradients = torch.autograd.grad(loss, used, retain_graph=exit_index + 1 < len(losses))
            if row:
                torch._foreach_copy_(row, list(gradients[: len(row)]))
            for parameter, gradient in zip(used[len(row) :], gradients[len(row) :], strict=True):
                parameter.grad = gradient
        return self.matrix

    def spread(self, combined: Tensor) -> None:
        """Give every shared parameter its part of `combined` [size] as its gradient."""
        for parameter, part in zip(self._shared, combined.split_with_sizes(self._sizes), strict=True):
            parameter.grad = part.view_as(parameter)
