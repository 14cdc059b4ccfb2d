"""The exits' gradients as one matrix: what methods that weigh exits against each other work on."""

from collections.abc import Sequence
from math import prod

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class ExitGradients:
    """Takes each exit's gradient over the shared parameters apart, and puts a combined one back.

    Shared parameters are those that at least two exits reach, here one flattened vector in the order of
    `parameters`; it is zero where an exit does not use them. Of a parameter that is shared in part, the
    shared rows alone belong to that vector.

    Args:
        parameters: all parameters of the problem.
        row_reach: of each of them, bool [exits, rows] or [exits, 1].
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], row_reach: Sequence[Bool[Tensor, "exits _"]]
    ) -> None:
        self._shared = [
            _Shared(parameter, reached)
            for parameter, reached in zip(parameters, row_reach, strict=True)
            if int(reached.any(1).sum()) > 1
        ]
        self.sizes = [shared.size for shared in self._shared]
        sizes, exits = self.sizes, len(row_reach[0])
        # Entries that an exit does not use are never written, so they stay zero from step to step.
        self.matrix = parameters[0].detach().new_zeros(exits, sum(sizes))
        parts = [row.split_with_sizes(sizes) if sizes else () for row in self.matrix]
        self._mine = [
            [
                (shared, part.view(shared.shape))
                for shared, part in zip(self._shared, row, strict=True)
                if shared.used[exit_index]
            ]
            for exit_index, row in enumerate(parts)
        ]
        taken = {id(shared.parameter) for shared in self._shared}
        self._own = [
            [
                parameter
                for parameter, reached in zip(parameters, row_reach, strict=True)
                if reached[exit_index].any() and id(parameter) not in taken
            ]
            for exit_index in range(exits)
        ]

    @property
    def used(self) -> Tensor:
        """Which exits reach which shared parameters, bool [exits, parameters]."""
        rows = [shared.used for shared in self._shared]
        return torch.tensor(rows, dtype=torch.bool).reshape(len(rows), len(self.matrix)).T

    def fill(self, losses: Sequence[Float[Tensor, ""]]) -> Float[Tensor, "exits size"]:
        """Return every exit's gradient over the shared parameters [exits, size], until the next call.

        The parameters, and rows, that one exit alone reaches get its gradient as theirs. One forward pass
        serves all exits; every backward pass stops where its exit's graph does.

        Args:
            losses: of all exits, a scalar each, not stacked.
        """
        for shared in self._shared:
            shared.own = None
        for exit_index, (loss, mine, own) in enumerate(zip(losses, self._mine, self._own, strict=True)):
            wanted = [*(shared.parameter for shared, _ in mine), *own]
            gradients = torch.autograd.grad(loss, wanted, retain_graph=exit_index + 1 < len(losses))
            if mine:
                taken = [shared.take(g) for (shared, _), g in zip(mine, gradients, strict=False)]
                torch._foreach_copy_([part for _, part in mine], taken)
            for parameter, gradient in zip(own, gradients[len(mine) :], strict=True):
                parameter.grad = gradient
        return self.matrix

    def spread(self, combined: Float[Tensor, " size"]) -> None:
        """Give every shared parameter its part of `combined` [size] as its gradient."""
        parts = combined.split_with_sizes([shared.size for shared in self._shared])
        for shared, part in zip(self._shared, parts, strict=True):
            shared.put(part)


class _Shared:
    """A parameter of which at least two exits reach some rows, or all."""

    def __init__(self, parameter: nn.Parameter, reached: Bool[Tensor, "exits rows"]) -> None:
        self.parameter = parameter
        self.used: list[bool] = reached.any(1).tolist()
        several = reached.sum(0) > 1
        self._rows = None if bool(several.all()) else several.nonzero().flatten().to(parameter.device)
        self.shape = (len(self._rows), *parameter.shape[1:]) if self._rows is not None else parameter.shape
        self.size = prod(self.shape)
        self.own: Tensor | None = None
        """The sum of the exits' gradients; in rows of a single exit that is its own."""

    def take(self, gradient: Tensor) -> Tensor:
        """Return what of an exit's gradient belongs to the shared rows."""
        if self._rows is None:
            return gradient
        self.own = gradient if self.own is None else self.own + gradient
        return gradient[self._rows]

    def put(self, part: Tensor) -> None:
        """Set the parameter's gradient: the combined one in the shared rows, an exit's own elsewhere."""
        if self._rows is None:
            self.parameter.grad = part.view_as(self.parameter)
        elif self.own is not None:
            gradient = self.own.clone(memory_format=torch.contiguous_format)
            gradient[self._rows] = part.view(self.shape)
            self.parameter.grad = gradient
