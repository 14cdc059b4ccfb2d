"""Nesterov's momentum across outer steps: the fused moves, as gradients of an outer optimizer.

Source: Douillard et al., "DiLoCo: Distributed Low-Communication Training of Language Models",
arXiv:2311.08105, algorithm 1, where the workers' mean move is the negative gradient of Nesterov SGD over W0.
Here the fused move Δ = Σ_i π_i g_i of a shared parameter takes the mean's place:
    v ← μ·v + Δ,    W = W0 + ε·(Δ + μ·v) = (W0 + ε·μ²·v_before) + ε·(1 + μ)·Δ.
The second form is what the fusion needs: it learns η at the point that the momentum is about to lead to.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from training.methods.interface import MultiExitProblem, Snapshot


class OuterMomentum:
    """Holds v of what at least two tasks share; what one task alone reaches has none.

    Args:
        problem: what is trained.
        row_reach: for each parameter bool [tasks, rows] or [tasks, 1]; v is of the shared rows alone.
        momentum: μ; with 0 nothing is held, and W0 stays W0.
        outer_lr: ε.
    """

    def __init__(
        self,
        problem: MultiExitProblem,
        row_reach: Sequence[Bool[Tensor, "tasks _"]],
        momentum: float,
        outer_lr: float,
    ) -> None:
        self._problem, self._momentum, self._lr = problem, momentum, outer_lr
        self._velocity: dict[int, Tensor] = {}
        self._shared: dict[int, Tensor] = {}
        for index, (parameter, reached) in enumerate(zip(problem.parameters, row_reach, strict=True)):
            several = reached.sum(0) > 1
            if momentum and bool(several.any()):
                self._velocity[index] = torch.zeros_like(parameter.detach())
                rows = several.to(parameter.device)
                self._shared[index] = rows.reshape(-1, *[1] * (parameter.dim() - 1))

    @property
    def scale(self) -> float:
        """What Δ is multiplied by within a step, ε·(1 + μ)."""
        return self._lr * (1 + self._momentum)

    def ahead(self, start: Snapshot) -> Snapshot:
        """Return W0 + ε·μ²·v: where the momentum leads without a move."""
        if not self._velocity:
            return start
        parameters = list(start.parameters)
        for index, velocity in self._velocity.items():
            parameters[index] = parameters[index] + self._lr * self._momentum**2 * velocity
        return Snapshot(parameters, start.buffers)

    def follow(self, ahead: Snapshot) -> None:
        """Take in the move from there to the parameters as they are now, ε·(1 + μ)·Δ."""
        for index, velocity in self._velocity.items():
            moved = (self._problem.parameters[index].detach() - ahead.parameters[index]) / self.scale
            velocity.mul_(self._momentum).add_(moved * self._shared[index])

    def state_dict(self) -> dict[str, Tensor]:
        """Return v by the parameter's index."""
        return {str(index): velocity for index, velocity in self._velocity.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on with a saved v; it begins at 0 where there is none."""
        for index, velocity in self._velocity.items():
            if (saved := state.get(str(index))) is not None:
                velocity.copy_(saved)
