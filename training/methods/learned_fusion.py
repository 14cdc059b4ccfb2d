"""Meta-GF's fusion: importances η of the shared parameters, learned on the joint loss of the fused net."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.optim import Optimizer

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
        outer_lr: what the fused move of shared parameters is multiplied by, the poster's ε.
    """

    normalisation: Normalisation
    granularity: str
    lr: float
    ema: float
    weighted: bool
    outer_lr: float = 1.0


class LearnedFusion:
    """Holds η of every parameter that at least two tasks share, and sets the parameters to what it gives.

    η, the last η, its gradient and Adam's two moments have an entry per task and group: almost nothing with
    an η per tensor, and 5 copies of the shared parameters *per task* with one per element.

    Args:
        problem: what is trained.
        row_reach: for each parameter bool [tasks, rows] or [tasks, 1]. Where tasks reach different rows of
            one, the weights of a row are shared out among those that reach it.
        recipe: how η is learned.
    """

    def __init__(
        self,
        problem: MultiExitProblem,
        row_reach: Sequence[Bool[Tensor, "tasks _"]],
        recipe: FusionRecipe,
    ) -> None:
        self._problem, self.recipe = problem, recipe
        self._sharers: list[int] = [int(reached.any(1).sum()) for reached in row_reach]
        self._masks = {
            index: self._mask(parameter, reached[reached.any(1)])
            for index, (parameter, reached) in enumerate(zip(problem.parameters, row_reach, strict=True))
            if reached.shape[1] > 1 and not bool(reached[reached.any(1)].all())
        }
        self._eta = {
            index: parameter.detach().new_zeros(sharers, self._groups(parameter))
            for index, (sharers, parameter) in enumerate(zip(self._sharers, problem.parameters, strict=True))
            if sharers > 1
        }
        self._adam = torch.optim.Adam(self._eta.values(), lr=recipe.lr) if self._eta else None

    def weights(self) -> dict[int, Float[Tensor, "_ _"]]:
        """Return π [tasks that reach it, groups] of every shared parameter, by its index.

        Where tasks reach different rows, the groups are rows at least.
        """
        return {
            index: self.recipe.normalisation.weights(self._masked(index, eta))
            for index, eta in self._eta.items()
        }

    def place(
        self, start: Snapshot, moves: Sequence[Float[Tensor, "_ _"]]
    ) -> dict[int, Float[Tensor, "_ _"]]:
        """Set every shared parameter to W0 + Σ π_i g_i and return the weights π used."""
        weights = self.weights()
        for index, weight in weights.items():
            self._set(index, start, fuse(moves[index], self._scaled(weight)))
        return weights

    def place_unshared(self, start: Snapshot, moves: Sequence[Float[Tensor, "_ _"]]) -> None:
        """Set what one task alone reaches to W0 + g."""
        for index, sharers in enumerate(self._sharers):
            if sharers == 1:
                self._set(index, start, moves[index][0])

    def learn(
        self,
        start: Snapshot,
        moves: Sequence[Float[Tensor, "_ _"]],
        phase: Phase,
        adapt: bool = True,
        unshared: Optimizer | None = None,
    ) -> None:
        """Take one pass of Adam on η, then the moving average; the shared parameters are left behind by it.

        Args:
            start: W0.
            moves: W_i − W0 of every parameter [tasks that reach it, size].
            phase: the pass.
            adapt: whether η learns.
            unshared: trains what one task alone reaches, on the fused trunk; nothing does where None.
        """
        if self._adam is None:
            return
        problem, exits = self._problem, range(len(self._problem.reach))
        before = {index: eta.clone() for index, eta in self._eta.items()}
        shared = [problem.parameters[index] for index in self._eta]
        own = self._unshared() if unshared else []
        wanted = {id(parameter) for parameter in (*shared, *own)}
        others = [parameter for parameter in problem.parameters if id(parameter) not in wanted]
        for parameter in others:  # no gradient is wanted of them
            parameter.requires_grad_(False)
        for batch in problem.batches(phase):
            weights = self.place(start, moves)
            losses = problem.losses(batch, exits, weighted=self.recipe.weighted)
            gradients = torch.autograd.grad(torch.stack(list(losses)).sum(), [*shared, *own])
            if unshared:
                for parameter, gradient in zip(own, gradients[len(shared) :], strict=True):
                    parameter.grad = gradient
                problem.step(unshared)
            if adapt:
                self._step(moves, weights, gradients[: len(shared)])
        for parameter in own:
            parameter.grad = None
        for parameter in others:
            parameter.requires_grad_(True)
        # In place, so that Adam goes on moving the same η.
        for index, eta in self._eta.items():
            eta.lerp_(before[index], self.recipe.ema)

    def _step(
        self,
        moves: Sequence[Float[Tensor, "_ _"]],
        weights: Mapping[int, Float[Tensor, "_ _"]],
        gradients: Sequence[Tensor],
    ) -> None:
        """Take one step of Adam on η, from the gradients of the shared parameters."""
        if self._adam is None:
            return
        self._problem.average(gradients)
        for (index, eta), gradient in zip(self._eta.items(), gradients, strict=True):
            slope = self.recipe.normalisation.slope(self._masked(index, eta))
            found = eta_gradient(gradient.flatten(), moves[index], weights[index], slope)
            found = self.recipe.outer_lr * found  # rows of one task have none
            # Rows that share an η add up.
            eta.grad = found if found.shape == eta.shape else found.sum(1, keepdim=True)
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)

    def _unshared(self) -> list[nn.Parameter]:
        """Return what one task alone reaches."""
        return [
            parameter
            for parameter, sharers in zip(self._problem.parameters, self._sharers, strict=True)
            if sharers == 1
        ]

    def state_dict(self) -> dict[str, Any]:
        """Return η and Adam's moments."""
        return {
            "eta": {str(index): eta for index, eta in self._eta.items()},
            "adam": self._adam.state_dict() if self._adam else {},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a saved η; where other parameters are shared now, theirs begins at 0."""
        if state["eta"].keys() != {str(index) for index in self._eta}:
            for index, eta in self._eta.items():
                if (saved := state["eta"].get(str(index))) is not None:
                    eta.copy_(saved)
            return
        for index, eta in self._eta.items():
            eta.copy_(state["eta"][str(index)])
        if self._adam:
            self._adam.load_state_dict(state["adam"])

    def _mask(self, parameter: Tensor, reached: Bool[Tensor, "tasks rows"]) -> Float[Tensor, "tasks _"]:
        """Return what is added to η: 0, or −∞ where a task does not reach a row [tasks, rows or elements]."""
        by_element = self.recipe.granularity == "element"
        mask = torch.zeros(reached.shape, dtype=parameter.dtype).masked_fill(~reached, -torch.inf)
        mask = mask.repeat_interleave(parameter[0].numel(), 1) if by_element else mask
        return mask.to(parameter.device)

    def _scaled(self, weights: Float[Tensor, "tasks groups"]) -> Float[Tensor, "tasks groups"]:
        """Return π times the outer learning rate; what one task alone reaches takes its move as it is."""
        if self.recipe.outer_lr == 1:
            return weights
        shared = (weights > 0).sum(0) > 1
        return torch.where(shared, self.recipe.outer_lr * weights, weights)

    def deviation(self) -> float:
        """Return the mean of |π − 1/m| over shared parameters, m being how many tasks share each group."""
        found = []
        for weights in self.weights().values():
            used = weights > 0
            sharers = used.sum(0)
            apart = ((weights - 1 / sharers).abs() * used)[:, sharers > 1]
            found.append(apart.sum() / used[:, sharers > 1].sum().clamp(min=1))
        return float(torch.stack(found).mean()) if found else 0.0

    def _masked(self, index: int, eta: Float[Tensor, "tasks _"]) -> Float[Tensor, "tasks _"]:
        return eta + self._masks[index] if index in self._masks else eta

    def _groups(self, parameter: Tensor) -> int:
        channels = len(parameter) if parameter.dim() else 1
        return {"tensor": 1, "channel": channels, "element": parameter.numel()}[self.recipe.granularity]

    def _set(self, index: int, start: Snapshot, move: Tensor) -> None:
        parameter, origin = self._problem.parameters[index], start.parameters[index]
        with torch.no_grad():
            torch.add(origin, move.view_as(origin), out=parameter.detach())
