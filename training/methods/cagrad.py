"""CAGrad: near the mean gradient, the direction in which the worst-off exit still gains most.

Source: Liu, Liu, Jin, Stone, Liu, "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021,
algorithm 1. With g_0 the mean of the exits' gradients,
    d = argmax min_i ⟨g_i, d⟩  over  ‖d − g_0‖ ≤ c·‖g_0‖.
Its dual is a small problem on the simplex: with g_w = Σ w_i g_i,
    w = argmin ⟨g_w, g_0⟩ + c·‖g_0‖·‖g_w‖,   d = g_0 + c·‖g_0‖ / ‖g_w‖ · g_w,
solved, as in the authors' code, by SLSQP on the Gramian.

Scale: n·d, so that c = 0 gives the joint gradient.

Deviations:
  - Only the parameters that at least two exits share are operated on.
  - d is taken as the paper has it. The authors' code divides it by 1 + c² (`rescale`), which is an option.
  - ‖g_w‖ is smoothed by a millionth of the gradients' size: where it vanishes, d falls back to g_0.
"""

import math

import numpy as np
import torch
from jaxtyping import Float, Float64
from pydantic import BaseModel, ConfigDict, Field
from scipy.optimize import minimize
from torch import Tensor

from training.methods.interface import MultiExitProblem
from training.methods.step_methods import PerExitMethod

SMOOTHING = 1e-12  # under the root, for gradients of a mean square norm of 1


class CAGradOptions(BaseModel):
    """Options of CAGrad."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    c: float = Field(0.4, ge=0, lt=1, description="radius of the ball around the mean, as a share of it")
    rescale: bool = Field(False, description="divide by 1 + c², as the authors' code does")


class CAGrad(PerExitMethod):
    """Steps along n times the conflict-averse direction.

    Args:
        problem: what is trained.
        options: see `CAGradOptions`.
    """

    def __init__(self, problem: MultiExitProblem, options: CAGradOptions) -> None:
        super().__init__(problem, lambda gradients, _: cagrad(gradients, options))


def cagrad(gradients: Float[Tensor, "exits size"], options: CAGradOptions) -> Float[Tensor, " size"]:
    """Return n·d [size] for gradients [exits, size].

    >>> cagrad(torch.tensor([[1.0, 0.0], [3.0, 0.0]]), CAGradOptions(c=0.5)).tolist()
    [6.0, 0.0]
    """
    exits = len(gradients)
    gramian = (gradients @ gradients.T).double().cpu().numpy()
    weights = exits * cagrad_weights(gramian, options.c)
    if options.rescale:
        weights /= 1 + options.c**2
    return torch.from_numpy(weights).to(gradients) @ gradients


def cagrad_weights(gramian: Float64[np.ndarray, "exits exits"], c: float) -> Float64[np.ndarray, " exits"]:
    """Return what each gradient counts in d [exits].

    Args:
        gramian: ⟨g_i, g_j⟩ [exits, exits].
        c: radius of the ball around the mean gradient, as a share of its norm.
    """
    exits = len(gramian)
    mean = np.full(exits, 1 / exits)
    size = np.trace(gramian) / exits
    if not np.isfinite(size) or size == 0:
        return mean  # there is nothing to choose: no gradient, or one that the loss check is about to report
    gramian = gramian / size
    along = gramian @ mean  # ⟨g_i, g_0⟩
    radius = c * math.sqrt(max(float(mean @ along), 0.0))

    def norm(w: Float64[np.ndarray, " exits"]) -> float:
        return math.sqrt(max(float(w @ gramian @ w), 0.0) + SMOOTHING)

    found = minimize(
        lambda w: float(w @ along) + radius * norm(w),
        mean,
        jac=lambda w: along + radius * (gramian @ w) / norm(w),
        method="SLSQP",
        bounds=[(0.0, 1.0)] * exits,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-12, "maxiter": 200},
    ).x
    w = np.clip(found, 0.0, None)
    w /= w.sum()
    return np.asarray(mean + radius / norm(w) * w)
