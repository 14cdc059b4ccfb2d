"""Step methods: every batch gives one gradient, and the optimizer takes one step along it.

A `StepMethod` says how the exits' losses become the parameters' gradients; a `PerExitMethod` only how the
rows of one matrix, an exit's gradient each, become a vector.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from training.methods.exit_gradients import ExitGradients
from training.methods.interface import MultiExitProblem, Phase

PASS = Phase("all exits")

Combine = Callable[[Tensor, np.random.Generator], Tensor]
"""Turns gradients [exits, size] into one [size]; the generator is keyed on seed, epoch and step."""


class StepMethod(ABC):
    """Owns the optimizer and makes one pass over the data an epoch.

    Args:
        problem: what is trained.
    """

    def __init__(self, problem: MultiExitProblem) -> None:
        self._problem = problem
        self._optimizer = problem.optimizer()

    @abstractmethod
    def backward(self, losses: Sequence[Tensor], step: int) -> None:
        """Set the parameters' gradients.

        Args:
            losses: of all exits, a scalar each.
            step: of the epoch, from 0.
        """

    def phases(self) -> Sequence[Phase]:
        """Return the one pass over all training images."""
        return (PASS,)

    def epoch(self) -> None:
        """Train for one pass over the data."""
        exits = range(len(self._problem.reach))
        for step, batch in enumerate(self._problem.batches(PASS)):
            self._optimizer.zero_grad(set_to_none=True)
            self.backward(self._problem.losses(batch, exits), step)
            self._problem.step(self._optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's momentum."""
        return {"optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a saved momentum."""
        self._optimizer.load_state_dict(state["optimizer"])

    def facts(self) -> dict[str, float]:
        """There is nothing to be said."""
        return {}


class PerExitMethod(StepMethod):
    """Combines the exits' gradients over the shared parameters; the others take their own exit's gradient.

    Args:
        problem: what is trained.
        combine: see `Combine`.
    """

    def __init__(self, problem: MultiExitProblem, combine: Combine) -> None:
        super().__init__(problem)
        self._gradients = ExitGradients(problem.parameters, problem.row_reach)
        self._combine = combine

    def backward(self, losses: Sequence[Tensor], step: int) -> None:
        """Set the shared parameters' gradients to the combined one, the others' to their own exit's."""
        matrix = self._gradients.fill(losses)
        self._problem.average([matrix])  # gradients of the whole batch are what may conflict
        if matrix.numel():
            self._gradients.spread(self._combine(matrix, self._problem.generator("combine", step)))
