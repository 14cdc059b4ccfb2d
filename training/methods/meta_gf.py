"""Meta-GF: meta-learned weights fuse the exits' expected gradients, one outer epoch at a time.

Source: Sun, Li, Xu, "Meta-GF: Training Dynamic-Depth Neural Networks Harmoniously", ECCV 2022, algorithm 1.
From the shared start W0 every exit i trains alone for one epoch to W_i; its expected gradient is
g_i = W_i − W0 (eq. 3). Importances η are learned by Adam on the joint loss F of all exits at the fused
parameters (eq. 2); the new W0 is the fused W.

Deviations:
  - The poster writes W0 − ε·Σ π_i g_i. With g_i = W_i − W0 that would step away from the optimum: the sign is
    +, and ε = 1.
  - The sum and the softmax run over the exits that reach a parameter, not over all of them.
  - An exit's task runs no layer behind that exit. The authors' public code adds a tenth of the other exits'
    losses instead (`aux_weight=0.1`); what that moves behind the exit is left out of the fusion.
  - η carries an exponential moving average over outer epochs, as in the authors' public code; the poster does
    not mention it. There it takes η out of Adam's hands, so that the weights freeze after the first outer
    epoch (`freeze_eta`); here it is taken in place, and Adam goes on moving the same η.
  - BatchNorm's running statistics are re-estimated for the fused W; each task starts from W0's own statistics
    and without momentum, so that an outer epoch depends on W0, the data and the method's state alone.
"""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from training.methods.fusion import NORMALISATIONS
from training.methods.interface import MultiExitProblem, Phase
from training.methods.learned_fusion import FusionRecipe, LearnedFusion
from training.methods.tasks import expected_gradients, task_reach, tasks_of


class MetaGFOptions(BaseModel):
    """What can be chosen in Meta-GF."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: Literal["softmax", "sigmoid"] = Field("softmax", description="how η becomes weights")
    granularity: Literal["tensor", "channel", "element"] = Field(
        "tensor", description="what shares one importance η"
    )
    aux_weight: float = Field(
        0.0, ge=0, description="what the other exits' losses count in an exit's task; 0 truncates the net"
    )
    task_share: float = Field(1.0, gt=0, le=1, description="share of the images that a task trains on")
    exits_per_task: int = Field(
        1, ge=1, description="neighbouring exits that share a task; all exits in one, if there are no more"
    )
    eta_lr: float = Field(0.1, gt=0, description="Adam's learning rate on η")
    eta_ema: float = Field(0.9, ge=0, lt=1, description="share of the last η that is kept")
    freeze_eta: bool = Field(False, description="learn η in the first outer epoch only")
    fusion_share: float = Field(1.0, gt=0, le=1, description="share of the images that η learns on")
    fusion_loss: Literal["weighted", "plain"] = Field(
        "weighted", description="whether η's joint loss follows the run's loss weighting"
    )
    bn_share: float = Field(0.04, gt=0, le=1, description="share of the images that re-estimates BatchNorm")


class MetaGF:
    """Trains by alternating per-exit epochs with a fusion whose weights are learned.

    Args:
        problem: what is trained.
        options: see `MetaGFOptions`.
    """

    def __init__(self, problem: MultiExitProblem, options: MetaGFOptions) -> None:
        self._problem, self._options = problem, options
        self._tasks = tasks_of(len(problem.reach), options.exits_per_task, options.task_share)
        self._fusion = LearnedFusion(
            problem,
            task_reach(self._tasks, problem.reach),
            FusionRecipe(
                normalisation=NORMALISATIONS[options.weights],
                granularity=options.granularity,
                lr=options.eta_lr,
                ema=options.eta_ema,
                weighted=options.fusion_loss == "weighted",
            ),
        )
        self._frozen = False

    def phases(self) -> Sequence[Phase]:
        """Return one pass per task, the fusion pass and the BatchNorm pass."""
        tasks, options = [task.phase for task in self._tasks], self._options
        return (*tasks, Phase("fusion", options.fusion_share), Phase("batchnorm", options.bn_share))

    def epoch(self) -> None:
        """Train for one outer epoch."""
        *_, fusion, statistics = self.phases()
        start = self._problem.snapshot()
        moves = expected_gradients(self._problem, start, self._tasks, self._options.aux_weight)
        self._problem.restore(start)
        # What one task alone reaches takes its move whole, and needs neither η nor a gradient from here on.
        self._fusion.place_unshared(start, moves)
        if not self._frozen:
            self._fusion.learn(start, moves, fusion)
            self._frozen = self._options.freeze_eta
        # The order matters: last step of Adam, moving average, W, and only then the statistics of that W.
        self._fusion.place(start, moves)
        self._problem.estimate_batchnorm(statistics)

    def state_dict(self) -> dict[str, Any]:
        """Return η, Adam's moments, and whether η goes on learning."""
        return {**self._fusion.state_dict(), "frozen": self._frozen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a saved η."""
        self._fusion.load_state_dict(state)
        self._frozen = state["frozen"]

    def weights(self) -> dict[int, Tensor]:
        """Return π [tasks that reach it, groups] of every shared parameter, by its index."""
        return self._fusion.weights()
