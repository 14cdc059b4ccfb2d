"""The weights that a run keeps: its last ones, or their exponential moving average.

Source: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992; exponential, as in
Tarvainen and Valpola, "Mean Teachers Are Better Role Models", NeurIPS 2017. The first weights begin the
average, and update n = 1, 2 … keeps min(decay, (1 + n)/(10 + n)) of it (the warm-up of TensorFlow's
`ExponentialMovingAverage`): their weight soon vanishes, and later it spans about the last 1/(1 − decay).

BatchNorm's running statistics belong to one set of weights: averaged along, they would be those of no net.
They are re-estimated for the averaged weights after every epoch, as Izmailov et al., "Averaging Weights Leads
to Wider Optima", UAI 2018, do once.
"""

import copy
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from training.fitting.problem import TrainingProblem
from training.methods.interface import Phase
from training.models.multi_exit import MultiExitModel
from training.runs.checkpoint import Checkpoint

STATISTICS = Phase("averaged weights", share=0.04)
"""The pass that re-estimates BatchNorm, over as many images as Meta-GF's own."""


class KeptWeights(Protocol):
    """The model that is validated, saved and exported of a run: `model`, an epoch of which takes `phases`."""

    model: MultiExitModel
    phases: Sequence[Phase]
    averaged: int | None

    def after_epoch(self, problem: TrainingProblem) -> None:
        """Take in an epoch that is done."""

    def trained(self) -> dict[str, Any] | None:
        """Return what training goes on from, where that is not `model`."""

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint."""


class LastWeights:
    """Keeps what training left.

    Args:
        model: in training.
    """

    phases: Sequence[Phase] = ()
    averaged: int | None = 0

    def __init__(self, model: MultiExitModel) -> None:
        self.model = model

    def after_epoch(self, problem: TrainingProblem) -> None:
        """There is nothing to do."""

    def trained(self) -> None:
        """Training goes on from the model that is kept."""

    def restore(self, checkpoint: Checkpoint) -> None:
        """The model is restored as it is trained."""


class WeightAverage:
    """Keeps a moving average of the weights, updated after every step or every epoch.

    torch's `AveragedModel` would do the same and copy every buffer at every step.

    Args:
        model: in training.
        problem: calls back at each step.
        decay: share of the average that an update keeps.
        each_step: update after every step; after every epoch otherwise, for methods whose steps lead to
            weights that are not kept (Meta-GF's tasks).
    """

    phases: Sequence[Phase] = (STATISTICS,)

    def __init__(
        self, model: MultiExitModel, problem: TrainingProblem, decay: float, each_step: bool
    ) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self._source, self._each_step = model, each_step
        self._decay = decay
        self._averaged, self._sources = list(self.model.parameters()), list(model.parameters())
        self.averaged: int | None = 0
        if each_step:
            problem.on_step = self._update

    def after_epoch(self, problem: TrainingProblem) -> None:
        """Take in the epoch's weights, if not every step's, and give the average its own statistics."""
        if not self._each_step:
            self._update()
        problem.estimate_batchnorm(STATISTICS, self.model)

    def trained(self) -> dict[str, Any]:
        """Return the weights that the average is of."""
        return self._source.state_dict()

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from the average of a checkpoint."""
        self.model.load_state_dict(checkpoint.model)
        self.averaged = checkpoint.averaged  # None in checkpoints from before the warm-up: it is over

    def _update(self) -> None:
        sources = [parameter.detach() for parameter in self._sources]
        if self.averaged == 0:
            self.model.load_state_dict(self._source.state_dict())
        else:
            new = 1 - (self._decay if self.averaged is None else kept_share(self._decay, self.averaged))
            torch._foreach_lerp_([parameter.detach() for parameter in self._averaged], sources, new)
        if self.averaged is not None:
            self.averaged += 1


def kept_share(decay: float, update: int) -> float:
    """Return how much of the average an update keeps.

    Args:
        decay: the most it keeps.
        update: its number, from 1.

    >>> kept_share(0.9, 1), kept_share(0.9, 1000)
    (0.18181818181818182, 0.9)
    """
    return min(decay, (1 + update) / (10 + update))
