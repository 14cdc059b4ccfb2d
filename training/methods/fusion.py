"""The mathematics of Meta-GF's fusion: weights, fused move, and the closed-form gradient of η.

A parameter of `size` elements that m exits reach has m moves g_i = W_i − W0 and importances η [m, groups];
a group is a run of size/groups consecutive elements that share an importance: the whole tensor (1 group),
an output channel (as many groups as rows) or a single element.

Source: Sun, Li, Xu, "Meta-GF: Training Dynamic-Depth Neural Networks Harmoniously", ECCV 2022, poster eq. 1.
"""

import torch
from torch import Tensor


def fusion_weights(eta: Tensor) -> Tensor:
    """Return π = softmax(η) over the exits (poster eq. 1).

    Args:
        eta: importances [m, groups].

    >>> fusion_weights(torch.zeros(2, 1)).tolist()
    [[0.5], [0.5]]
    """
    return torch.softmax(eta, dim=0)


def fuse(moves: Tensor, weights: Tensor) -> Tensor:
    """Return the fused move Σ_i π_i · g_i [size].

    Args:
        moves: g_i of every exit that reaches the parameter [m, size].
        weights: π [m, groups]; groups divides size.
    """
    m, groups = weights.shape
    return (moves.view(m, groups, -1) * weights.unsqueeze(-1)).sum(0).flatten()


def eta_gradient(gradient: Tensor, moves: Tensor, weights: Tensor) -> Tensor:
    """Return ∂L/∂η [m, groups], without a graph through the fusion.

    With W = W0 + Σ_j π_j g_j and π = softmax(η), the chain rule gives
    ∂L/∂η_i = π_i · ⟨∂L/∂W, g_i − Σ_j π_j g_j⟩, the inner product taken over the group's elements.

    Args:
        gradient: ∂L/∂W at the fused parameter [size].
        moves: g_i [m, size].
        weights: π [m, groups].
    """
    m, groups = weights.shape
    along = torch.einsum("mgk,gk->mg", moves.view(m, groups, -1), gradient.reshape(groups, -1))
    return weights * (along - (weights * along).sum(0))
