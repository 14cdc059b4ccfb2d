"""The mathematics of Meta-GF's fusion: weights, fused move, and the closed-form gradient of η.

A parameter of `size` elements that m exits reach has m moves g_i = W_i − W0 and importances η [m, groups];
a group is a run of size/groups consecutive elements that share an importance: the whole tensor (1 group),
an output channel (as many groups as rows) or a single element.

Source: Sun, Li, Xu, "Meta-GF: Training Dynamic-Depth Neural Networks Harmoniously", ECCV 2022, poster eq. 1.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Normalisation:
    """Weights π_i = f(η_i) / Σ_j f(η_j) for a positive f; the sums run over the exits.

    Args:
        weights: maps η [m, groups] to π [m, groups].
        slope: maps η to f'(η) / f(η), all of f that the gradient needs.
    """

    weights: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]


def _sigmoid_weights(eta: Float[Tensor, "m groups"]) -> Float[Tensor, "m groups"]:
    # As a softmax of log σ: it does not divide by zero where every σ(η) has vanished.
    return torch.softmax(torch.nn.functional.logsigmoid(eta), dim=0)


NORMALISATIONS: Mapping[str, Normalisation] = {
    # The poster's: f = exp.
    "softmax": Normalisation(lambda eta: torch.softmax(eta, dim=0), torch.ones_like),
    # The authors' public code on MSDNet: f = σ.
    "sigmoid": Normalisation(_sigmoid_weights, lambda eta: torch.sigmoid(-eta)),
}


def fuse(moves: Float[Tensor, "m size"], weights: Float[Tensor, "m groups"]) -> Float[Tensor, " size"]:
    """Return the fused move Σ_i π_i · g_i [size].

    Args:
        moves: g_i of every exit that reaches the parameter [m, size].
        weights: π [m, groups]; groups divides size.

    >>> fuse(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0.5, 1.0], [0.5, 0.0]])).tolist()
    [2.0, 2.0]
    """
    m, groups = weights.shape
    return (moves.view(m, groups, -1) * weights.unsqueeze(-1)).sum(0).flatten()


def eta_gradient(
    gradient: Float[Tensor, " size"],
    moves: Float[Tensor, "m size"],
    weights: Float[Tensor, "m groups"],
    slope: Float[Tensor, "m groups"],
) -> Float[Tensor, "m groups"]:
    """Return ∂L/∂η [m, groups], without a graph through the fusion.

    With W = W0 + Σ_j π_j g_j and π_i = f(η_i) / Σ_j f(η_j), the chain rule gives
    ∂L/∂η_i = f'(η_i)/f(η_i) · π_i · ⟨∂L/∂W, g_i − Σ_j π_j g_j⟩, the inner product over the group's elements.

    Args:
        gradient: ∂L/∂W at the fused parameter [size].
        moves: g_i [m, size].
        weights: π [m, groups].
        slope: f'(η)/f(η) [m, groups].
    """
    m, groups = weights.shape
    if groups == len(gradient):  # an element each: there is nothing to sum, and a product needs no copy
        along = moves * gradient
    else:
        along = torch.einsum("mgk,gk->mg", moves.view(m, groups, -1), gradient.view(groups, -1))
    return slope * weights * (along - (weights * along).sum(0))
