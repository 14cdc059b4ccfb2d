"""PCGrad: from every exit's gradient, remove what conflicts with the others', and sum.

Source: Yu, Kumar, Gupta, Levine, Hausman, Finn, "Gradient Surgery for Multi-Task Learning", NeurIPS 2020,
algorithm 1. For every exit i, g_i^PC starts as g_i; over the other exits j in random order,
    if ⟨g_i^PC, g_j⟩ < 0:  g_i^PC ← g_i^PC − ⟨g_i^PC, g_j⟩ / ‖g_j‖² · g_j,
and the update is Σ_i g_i^PC: on the scale of the sum, so gradients without conflict give the joint gradient.

Only inner products are needed, so the surgery is done on coefficients: g_i^PC = Σ_k c_ik g_k, with
⟨g_i^PC, g_j⟩ read off the Gramian. That is the same algorithm, up to rounding.

Deviations:
  - Only the parameters (with a feature split: the rows) that at least two exits share are operated on.
  - The orders depend on seed, epoch and step alone: a resumed run, or another rank, draws the same.
"""

import numpy as np
import torch
from jaxtyping import Float, Int64
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from training.methods.interface import MultiExitProblem
from training.methods.step_methods import PerExitMethod


class PCGradOptions(BaseModel):
    """PCGrad has no options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PCGrad(PerExitMethod):
    """Steps along the sum of the projected gradients.

    Args:
        problem: what is trained.
        options: none.
    """

    def __init__(self, problem: MultiExitProblem, options: PCGradOptions) -> None:
        super().__init__(problem, pcgrad)


def pcgrad(gradients: Float[Tensor, "exits size"], random: np.random.Generator) -> Float[Tensor, " size"]:
    """Return Σ_i g_i^PC [size].

    Args:
        gradients: g_i [exits, size].
        random: draws every exit's order.

    >>> pcgrad(torch.tensor([[1.0, 0.0], [-1.0, 1.0]]), np.random.default_rng(0)).tolist()
    [0.5, 1.5]
    """
    exits = len(gradients)
    orders = random.permuted(np.tile(np.arange(exits), (exits, 1)), axis=1)
    weights = pcgrad_weights((gradients @ gradients.T).double(), orders)
    return weights.to(gradients) @ gradients


def pcgrad_weights(
    gramian: Float[Tensor, "exits exits"], orders: Int64[np.ndarray, "exits exits"]
) -> Float[Tensor, " exits"]:
    """Return what each gradient counts in Σ_i g_i^PC [exits].

    All exits' projections advance together, a step of each order at a time, where the Gramian lies: on a GPU
    nothing waits for the host.

    Args:
        gramian: ⟨g_i, g_j⟩ [exits, exits].
        orders: in row i the exits in the order that exit i meets them; its own place does nothing.
    """
    exits = len(gramian)
    rows = torch.arange(exits, device=gramian.device)
    coefficients = torch.eye(exits, dtype=gramian.dtype, device=gramian.device)
    for others in torch.from_numpy(orders).to(gramian.device, non_blocking=True).T:
        inner = (coefficients * gramian[others]).sum(1)
        conflict = (inner < 0) & (others != rows)
        share = torch.where(conflict, inner / gramian[others, others], 0.0)
        coefficients[rows, others] -= share
    return coefficients.sum(0)
