"""Meta-GF: meta-learned weights fuse the exits' expected gradients, one outer step at a time.

Source: Sun, Li, Xu, "Meta-GF: Training Dynamic-Depth Neural Networks Harmoniously", ECCV 2022, algorithm 1.
From the shared start W0 every exit i trains alone for one epoch to W_i; its expected gradient is
g_i = W_i − W0 (eq. 3). Importances η are learned by Adam on the joint loss F of all exits at the fused
parameters (eq. 2); the new W0 is the fused W.

Deviations:
  - The poster writes W0 − ε·Σ π_i g_i. With g_i = W_i − W0 that would step away from the optimum: the sign is
    +. ε is `outer_lr`, 1 by default: as Σ π = 1 and each move is of one exit's loss, a shared parameter then
    moves about 1/n as far as in joint training at the same `--lr`; with ε = n it is joint training's scale.
    ε leaves alone what one exit alone reaches, which moves at full speed in joint training too.
  - The poster has an η for every parameter w. The default is one per tensor, as in the authors' MSDNet code;
    `granularity=element` is the poster's.
  - The argmin of eq. 2 and of a task is one pass over the data each: of SGD for a task, of Adam for η. η and
    Adam's moments persist over outer epochs.
  - The sum and the softmax run over the exits that reach a parameter, not over all of them; with
    half-detached features (`--feature-split`) over those that reach a row of it, so that a channel of one
    exit takes that exit's move whole.
  - An exit's task runs no layer behind that exit. The authors' public code adds a tenth of the other exits'
    losses instead (`aux_weight=0.1`); what that moves behind the exit is left out of the fusion.
  - The authors' public code keeps nine tenths of the last η (`eta_ema=0.9`), which the poster does not
    mention, and which takes η out of Adam's hands, so that the weights freeze after the first outer epoch
    (`freeze_eta`). Here the default is 0. Since every pass starts at the last η, a moving average would not
    average estimates: it shortens each outer step of η to a tenth, while Adam's moments go on as if the whole
    step had been taken, and runs of a few outer epochs fuse almost uniformly.
  - BatchNorm's running statistics are re-estimated for the fused W; each task starts from W0's own statistics
    and without momentum, so that an outer epoch depends on W0, the data and the method's state alone. The
    momentum's warm-up (some ten steps at 0.9) is small beside a pass over the data.
  - The learning rate follows the run's schedule by the progress within the outer epoch, for every task alike;
    the fusion has none of its own but `eta_lr`.
  - Weight decay acts inside every task on all that the task reaches, biases and BatchNorm too. As Σ π = 1, a
    shared parameter decays as in one epoch, however many tasks share it: beside the loss, whose gradient is a
    mean over the exits, decay on the trunk is n times as strong as in joint training.
  - What one exit alone reaches is trained once an outer epoch, by its own task, on W_i's trunk, and is placed
    on the fused trunk as it is: only BatchNorm adapts. With `exits_per_task` its group trains it, once.

Beyond the paper, off by default:
  - `task_batches` cuts every pass of an outer epoch (the tasks' and the fusion's) into as many successive
    parts as it takes, and an outer step is of one part each. An epoch stays one pass per task, and the
    learning rate follows the progress within it. BatchNorm is re-estimated once, after the last step. Where
    the fusion has fewer batches than there are steps, η rests in some of them.
  - `task_momentum` keeps each task's momentum from one outer step to the next, as local SGD does.
  - `outer_momentum` adds Nesterov's momentum to the fused moves; see `training.methods.outer_momentum`.
  - `own_path=fusion` takes SGD steps in the fusion pass on what one exit alone reaches, so that it learns on
    the fused trunk too. Those steps begin without momentum in every outer step.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from training.methods.fusion import NORMALISATIONS
from training.methods.interface import MultiExitProblem, Phase
from training.methods.learned_fusion import FusionRecipe, LearnedFusion
from training.methods.outer_momentum import OuterMomentum
from training.methods.tasks import (
    TaskOptimizers,
    expected_gradients,
    outer_steps,
    parts_of,
    task_row_reach,
    tasks_of,
)

_EARLIER_EMA = 0.9


class MetaGFOptions(BaseModel):
    """Options of Meta-GF."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: Literal["softmax", "sigmoid"] = Field("softmax", description="how η becomes weights")
    granularity: Literal["tensor", "channel", "element"] = Field(
        "tensor", description="the unit that shares one importance η"
    )
    aux_weight: float = Field(
        0.0, ge=0, description="weight of the other exits' losses in an exit's task; 0 truncates the net"
    )
    task_batches: int | None = Field(
        None,
        ge=1,
        description="most mini-batches of a task in an outer step; an epoch is one step where not given",
    )
    task_momentum: bool = Field(False, description="tasks keep their momentum from outer step to outer step")
    task_share: float = Field(1.0, gt=0, le=1, description="share of the images that a task trains on")
    exits_per_task: int = Field(
        1, ge=1, description="neighbouring exits that share a task; all exits in one, if there are no more"
    )
    eta_lr: float = Field(0.1, gt=0, description="Adam's learning rate on η")
    eta_ema: float = Field(
        0.0, ge=0, lt=1, description="share of the last outer epoch's η that is kept; 0.9 in the public code"
    )
    outer_lr: float = Field(
        1.0, gt=0, description="factor of the fused move; the number of exits is joint's scale"
    )
    outer_momentum: float = Field(
        0.0, ge=0, lt=1, description="Nesterov momentum of the fused moves, across outer steps"
    )
    own_path: Literal["task", "fusion"] = Field(
        "task",
        description="where layers of one exit alone are trained: in its task, or in the fusion pass as well",
    )
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
        self._steps = outer_steps(problem, self._tasks, options.task_batches)
        row_reach = task_row_reach(self._tasks, problem.row_reach)
        self._momentum = OuterMomentum(problem, row_reach, options.outer_momentum, options.outer_lr)
        self._optimizers = (
            TaskOptimizers(problem, self._tasks, bool(options.aux_weight)) if options.task_momentum else None
        )
        self._fusion = LearnedFusion(
            problem,
            row_reach,
            FusionRecipe(
                normalisation=NORMALISATIONS[options.weights],
                granularity=options.granularity,
                lr=options.eta_lr,
                ema=options.eta_ema,
                weighted=options.fusion_loss == "weighted",
                outer_lr=self._momentum.scale,
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
        for number in range(self._steps):
            self._outer_step(fusion, (number, self._steps))
        self._frozen = self._options.freeze_eta
        # The order matters: last step of Adam, moving average, W, and only then the statistics of that W.
        self._problem.estimate_batchnorm(statistics)

    def _outer_step(self, fusion: Phase, part: tuple[int, int]) -> None:
        """Train the tasks on a part of their passes, and fuse what they moved."""
        problem, options = self._problem, self._options
        start, tasks = problem.snapshot(), parts_of(self._tasks, part)
        moves = expected_gradients(problem, start, tasks, options.aux_weight, self._optimizers)
        problem.restore(start)
        # A parameter that one task alone reaches takes its move whole, and no weight.
        self._fusion.place_unshared(start, moves)
        ahead = self._momentum.ahead(start)
        unshared = problem.optimizer() if options.own_path == "fusion" else None
        if unshared or not self._frozen:
            self._fusion.learn(ahead, moves, replace(fusion, part=part), not self._frozen, unshared)
        self._fusion.place(ahead, moves)
        self._momentum.follow(ahead)

    def state_dict(self) -> dict[str, Any]:
        """Return η, Adam's moments, what is kept of the last η, whether η goes on learning, and momenta."""
        return {
            **self._fusion.state_dict(),
            "frozen": self._frozen,
            "eta_ema": self._fusion.recipe.ema,
            "velocity": self._momentum.state_dict(),
            "tasks": self._optimizers.state_dict() if self._optimizers else [],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a saved η, and the run's `eta_ema`: 0.9 in states that do not hold it."""
        self._fusion.load_state_dict(state)
        self._frozen = state["frozen"]
        self._momentum.load_state_dict(state.get("velocity", {}))
        if self._optimizers and state.get("tasks"):
            self._optimizers.load_state_dict(state["tasks"])
        if "eta_ema" not in self._options.model_fields_set:
            ema = state.get("eta_ema", _EARLIER_EMA)
            self._fusion.recipe = replace(self._fusion.recipe, ema=ema)

    def facts(self) -> dict[str, float]:
        """Return how far the fusion weights are from equal shares: mean |π − 1/m|, 0 where η did nothing."""
        return {"fusion_deviation": self._fusion.deviation()}

    def weights(self) -> dict[int, Tensor]:
        """Return π [tasks that reach it, groups] of every shared parameter, by its index."""
        return self._fusion.weights()
