"""Meta-GF: meta-learned weights fuse the exits' expected gradients, one outer epoch at a time.

Source: Sun, Li, Xu, "Meta-GF: Training Dynamic-Depth Neural Networks Harmoniously", ECCV 2022, algorithm 1.
From the shared start W0 every exit i trains alone for one epoch to W_i; its expected gradient is
g_i = W_i − W0 (eq. 3). Importances η are learned by Adam on the joint loss F of all exits at the fused
parameters (eq. 2); the new W0 is the fused W.

Deviations:
  - The poster writes W0 − ε·Σ π_i g_i. With g_i = W_i − W0 that would step away from the optimum: the sign is
    +, and ε = 1.
  - The sum and the softmax run over the exits that reach a parameter, not over all of them.
  - An exit's task runs no layer behind that exit.
  - η carries an exponential moving average over outer epochs, as in the authors' public code; the poster does
    not mention it. It is taken in place, so that Adam goes on moving the same η.
  - BatchNorm's running statistics are re-estimated for the fused W; each task starts from W0's own statistics
    and without momentum, so that an outer epoch depends on W0, the data and η alone.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from training.methods.fusion import eta_gradient, fuse, fusion_weights
from training.methods.problem import Phase, Problem, Snapshot


class MetaGFOptions(BaseModel):
    """What can be chosen in Meta-GF."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    granularity: Literal["tensor", "channel"] = Field("tensor", description="what shares one importance η")
    eta_lr: float = Field(0.1, gt=0, description="Adam's learning rate on η")
    eta_ema: float = Field(0.9, ge=0, lt=1, description="share of the last η that is kept")
    bn_share: float = Field(0.04, gt=0, le=1, description="share of the images that re-estimates BatchNorm")


class MetaGF:
    """Trains by alternating per-exit epochs with a fusion whose weights are learned.

    Args:
        problem: what is trained.
        options: see `MetaGFOptions`.
    """

    def __init__(self, problem: Problem, options: MetaGFOptions) -> None:
        self._problem, self._options = problem, options
        self._tasks = [Phase(f"exit {exit_index + 1}") for exit_index in range(len(problem.reach))]
        self._fusion, self._statistics = Phase("fusion"), Phase("batchnorm", options.bn_share)
        self._sharers = problem.reach.sum(0).tolist()  # per parameter: how many exits reach it
        self._eta = {
            index: parameter.detach().new_zeros(sharers, self._groups(parameter))
            for index, (sharers, parameter) in enumerate(zip(self._sharers, problem.parameters, strict=True))
            if sharers > 1
        }
        self._adam = torch.optim.Adam(self._eta.values(), lr=options.eta_lr) if self._eta else None

    def phases(self) -> Sequence[Phase]:
        """Return one pass per exit, the fusion pass and the BatchNorm pass."""
        return (*self._tasks, self._fusion, self._statistics)

    def epoch(self) -> None:
        """Train for one outer epoch."""
        start = self._problem.snapshot()
        moves = self._expected_gradients(start)
        self._problem.restore(start)
        # What one exit alone reaches takes its move whole, and needs neither η nor a gradient from here on.
        for index, sharers in enumerate(self._sharers):
            if sharers == 1:
                self._place(index, start, moves[index][0])
        self._learn_eta(start, moves)
        self._problem.estimate_batchnorm(self._statistics)

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

    def weights(self) -> dict[int, Tensor]:
        """Return π [exits that reach it, groups] of every shared parameter, by its index."""
        return {index: fusion_weights(eta) for index, eta in self._eta.items()}

    def _groups(self, parameter: Tensor) -> int:
        return 1 if self._options.granularity == "tensor" else parameter.shape[0]

    def _expected_gradients(self, start: Snapshot) -> list[Tensor]:
        """Train each exit alone from W0; return W_i − W0 per parameter [exits that reach it, size]."""
        parameters, reach = self._problem.parameters, self._problem.reach
        moves = [p.new_empty(n, p.numel()) for n, p in zip(self._sharers, parameters, strict=True)]
        for exit_index, task in enumerate(self._tasks):
            self._problem.restore(start)
            optimizer = self._problem.optimizer()
            for batch in self._problem.batches(task):
                optimizer.zero_grad(set_to_none=True)
                self._problem.losses(batch, [exit_index]).sum().backward()  # type: ignore[no-untyped-call]
                self._problem.step(optimizer)
            optimizer.zero_grad(set_to_none=True)
            for index in reach[exit_index].nonzero().flatten().tolist():
                row = int(reach[:exit_index, index].sum())
                moved = parameters[index].detach() - start.parameters[index]
                moves[index][row] = moved.flatten()
        return moves

    def _learn_eta(self, start: Snapshot, moves: list[Tensor]) -> None:
        """One pass of Adam on η, the moving average, and the fused parameters of the η that results."""
        if self._adam is None:
            return
        parameters, exits = self._problem.parameters, range(len(self._problem.reach))
        before = {index: eta.clone() for index, eta in self._eta.items()}
        frozen = [p for p, sharers in zip(parameters, self._sharers, strict=True) if sharers < 2]
        for parameter in frozen:
            parameter.requires_grad_(False)
        for batch in self._problem.batches(self._fusion):
            weights = self._fuse_all(start, moves)
            losses = self._problem.losses(batch, exits)
            shared = [parameters[index] for index in self._eta]
            gradients = torch.autograd.grad(losses.sum(), shared)
            for (index, eta), gradient in zip(self._eta.items(), gradients, strict=True):
                eta.grad = eta_gradient(gradient.flatten(), moves[index], weights[index])
            self._adam.step()
        for parameter in frozen:
            parameter.requires_grad_(True)
        for index, eta in self._eta.items():
            eta.lerp_(before[index], self._options.eta_ema)
        self._fuse_all(start, moves)

    def _fuse_all(self, start: Snapshot, moves: list[Tensor]) -> dict[int, Tensor]:
        """Set every shared parameter to W0 + Σ π_i g_i and return the weights π used."""
        weights = self.weights()
        for index, weight in weights.items():
            self._place(index, start, fuse(moves[index], weight))
        return weights

    def _place(self, index: int, start: Snapshot, move: Tensor) -> None:
        parameter, origin = self._problem.parameters[index], start.parameters[index]
        with torch.no_grad():
            torch.add(origin, move.view_as(origin), out=parameter.detach())
