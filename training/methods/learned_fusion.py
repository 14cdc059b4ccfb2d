"""Meta-GF's fusion: importances η of the shared parameters, learned on the joint loss of the fused net."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training.methods.fusion import Normalisation, eta_gradient, fuse
from training.methods.interface import MultiExitProblem, Phase, Snapshot


@dataclass(frozen=True)
class FusionRecipe:
    """How η is learned.

    Args:
        normalisation: from η to weights.
        granularity: "tensor", "channel" or "element": what shares one η.
        lr: Adam's learning rate.
        ema: share of the last η that is kept.
        weighted: whether the joint loss is weighted as the run's losses are.
    """

    normalisation: Normalisation
    granularity: str
    lr: float
    ema: float
    weighted: bool


class LearnedFusion:
    """Holds η of every parameter that at least two tasks share, and sets the parameters to what it gives.

    η, the last η, its gradient and Adam's two moments have an entry per task and group: almost nothing with
    an η per tensor, and 5 copies of the shared parameters *per task* with one per element.

    Args:
        problem: what is trained.
        reach: bool [tasks, parameters].
        recipe: how η is learned.
    """

    def __init__(self, problem: MultiExitProblem, reach: Tensor, recipe: FusionRecipe) -> None:
        self._problem, self._recipe = problem, recipe
        self._sharers: list[int] = reach.sum(0).tolist()
        self._eta = {
            index: parameter.detach().new_zeros(sharers, self._groups(parameter))
            for index, (sharers, parameter) in enumerate(zip(self._sharers, problem.parameters, strict=True))
            if sharers > 1
        }
        self._adam = torch.optim.Adam(self._eta.values(), lr=recipe.lr) if self._eta else None

    def weights(self) -> dict[int, Tensor]:
        """Return π [tasks that reach it, groups] of every shared parameter, by its index."""
        return {index: self._recipe.normalisation.weights(eta) for index, eta in self._eta.items()}

    def place(self, start: Snapshot, moves: Sequence[Tensor]) -> dict[int, Tensor]:
        """Set every shared parameter to W0 + Σ π_i g_i and return the weights π used."""
        weights = self.weights()
        for index, weight in weights.items():
            self._set(index, start, fuse(moves[index], weight))
        return weights

    def place_unshared(self, start: Snapshot, moves: Sequence[Tensor]) -> None:
        """Set what one task alone reaches to W0 + g."""
        for index, sharers in enumerate(self._sharers):
            if sharers == 1:
                self._set(index, start, moves[index][0])

    def learn(self, start: Snapshot, moves: Sequence[Tensor], phase: Phase) -> None:
        """Take one pass of Adam on η, then the moving average; the parameters are left behind by it."""
        if self._adam is None:
            return
        problem, exits = self._problem, range(len(self._problem.reach))
        before = {index: eta.clone() for index, eta in self._eta.items()}
        shared = [problem.parameters[index] for index in self._eta]
        others = [p for index, p in enumerate(problem.parameters) if index not in self._eta]
        for parameter in others:  # no gradient is wanted of them
            parameter.requires_grad_(False)
        for batch in problem.batches(phase):
            weights = self.place(start, moves)
            losses = problem.losses(batch, exits, weighted=self._recipe.weighted)
            gradients = torch.autograd.grad(torch.stack(list(losses)).sum(), shared)
            problem.average(gradients)
            for (index, eta), gradient in zip(self._eta.items(), gradients, strict=True):
                slope = self._recipe.normalisation.slope(eta)
                eta.grad = eta_gradient(gradient.flatten(), moves[index], weights[index], slope)
            self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        for parameter in others:
            parameter.requires_grad_(True)
        # In place, so that Adam goes on moving the same η.
        for index, eta in self._eta.items():
            eta.lerp_(before[index], self._recipe.ema)

    def state_dict(self) -> dict[str, Any]:
        """Return η and Adam's moments."""
        return {
            "eta": {str(index): eta for index, eta in self._eta.items()},
            "adam": self._adam.state_dict() if self._adam else {},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a saved η."""
        for index, eta in self._eta.items():
            eta.copy_(state["eta"][str(index)])
        if self._adam:
            self._adam.load_state_dict(state["adam"])

    def _groups(self, parameter: Tensor) -> int:
        channels = len(parameter) if parameter.dim() else 1
        return {"tensor": 1, "channel": channels, "element": parameter.numel()}[self._recipe.granularity]

    def _set(self, index: int, start: Snapshot, move: Tensor) -> None:
        parameter, origin = self._problem.parameters[index], start.parameters[index]
        with torch.no_grad():
            torch.add(origin, move.view_as(origin), out=parameter.detach())
