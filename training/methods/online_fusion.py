"""Meta-GF's fusion at every step: the exits' gradients weighed by a softmax whose η learn as training goes.

Eq. 1 of Sun, Li, Xu, "Meta-GF: Training Dynamic-Depth Neural Networks Harmoniously", ECCV 2022, with one
SGD step of an exit in place of an epoch on it: a step moves a shared tensor by −lr · m · Σ_i π_i g_i, where
π = softmax(η) over the m exits that reach it. η descends the joint loss L of the batch that comes next:
    ∂L/∂η_i = −lr · m · π_i · ⟨∂L/∂W, g_i − Σ_j π_j g_j⟩
with the g of this step and the ∂L/∂W of the next, which its own step computes anyway. So η costs a dot
product per exit, where Meta-GF makes a pass over the data for it, and an epoch has one pass.

It is not the paper's method: expected gradients over an epoch are its point. As in hypergradient descent
(Baydin et al., "Online Learning Rate Adaptation with Hypergradient Descent", ICLR 2018) the effect of a step
is followed to the next batch only, and momentum carries it on unweighed.

Scale: with η = 0 it is joint training. lr is left out of η's gradient, which Adam scales away. Where the rows
of a tensor are shared by different exits (`--feature-split`), all of them have the weights of its exits.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from training.methods.interface import MultiExitProblem
from training.methods.step_methods import PerExitMethod


class OnlineFusionOptions(BaseModel):
    """Options of the fusion at every step."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    eta_lr: float = Field(0.01, gt=0, description="Adam's learning rate")


class OnlineFusion(PerExitMethod):
    """Steps along the weighed sum of the exits' gradients, and learns the weights from the step after.

    Args:
        problem: what is trained.
        options: see `OnlineFusionOptions`.
    """

    def __init__(self, problem: MultiExitProblem, options: OnlineFusionOptions) -> None:
        super().__init__(problem, self._fused)
        used = self._gradients.used
        self._sizes = self._gradients.sizes
        self._mask = torch.zeros(used.shape).masked_fill(~used, -torch.inf).to(self._gradients.matrix)
        self._eta = torch.zeros_like(self._mask)
        self._adam = torch.optim.Adam([self._eta], lr=options.eta_lr)
        self._last: Tensor | None = None

    def weights(self) -> Tensor:
        """Return π [exits, shared tensors]; 0 where an exit does not reach one."""
        return torch.softmax(self._eta + self._mask, dim=0)

    def epoch(self) -> None:
        """Train for one pass over the data; its first step depends on nothing that a checkpoint lacks."""
        self._last = None
        super().epoch()

    def _fused(self, matrix: Tensor, _: np.random.Generator) -> Tensor:
        """Combine gradients, after η has learned from what the last step did to the losses."""
        if self._last is not None:
            self._eta.grad = eta_descent(matrix.sum(0), self._last, self.weights(), self._sizes)
            self._adam.step()
        self._last = matrix.clone()
        return fused(matrix, self.weights(), self._sizes)

    def facts(self) -> dict[str, float]:
        """Return how far the weights are from equal ones, on average."""
        if not self._eta.numel():
            return {}
        used = self._mask == 0
        apart = (self.weights() - 1 / used.sum(0)).abs()
        return {"fusion_deviation": float(apart[used].mean())}

    def state_dict(self) -> dict[str, Any]:
        """Return the momentum, η and Adam's moments."""
        return {**super().state_dict(), "eta": self._eta, "adam": self._adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with them."""
        super().load_state_dict(state)
        self._eta.copy_(state["eta"])
        self._adam.load_state_dict(state["adam"])


def fused(matrix: Tensor, weights: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return m · Σ_i π_i g_i of every tensor, [size] in all.

    Args:
        matrix: the exits' gradients [exits, size].
        weights: π [exits, tensors].
        sizes: of the tensors, which add up to size.

    >>> fused(torch.tensor([[1.0, 1.0], [3.0, 0.0]]), torch.tensor([[0.5, 1.0], [0.5, 0.0]]), [1, 1]).tolist()
    [4.0, 1.0]
    """
    scale = (weights > 0).sum(0) * weights
    return torch.cat(
        [
            part.mul(times[:, None]).sum(0)
            for part, times in zip(torch.split(matrix, list(sizes), 1), scale.T, strict=True)
        ]
    )


def eta_descent(gradient: Tensor, last: Tensor, weights: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return ∂L/∂η [exits, tensors] over the learning rate, for the step that was taken along `last`.

    Args:
        gradient: ∂L/∂W after that step [size].
        last: the exits' gradients before it [exits, size].
        weights: π that it was taken with [exits, tensors].
        sizes: of the tensors.
    """
    along = torch.stack(
        [
            part @ own
            for part, own in zip(
                torch.split(last, list(sizes), 1), torch.split(gradient, list(sizes)), strict=True
            )
        ],
        1,
    )
    users = (weights > 0).sum(0)
    return -users * weights * (along - (weights * along).sum(0))
