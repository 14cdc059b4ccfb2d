"""The training problem that a method works on: one model, one data set, and the optimiser's recipe."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from training.data.seeds import generator
from training.errors import NonFiniteLossError
from training.fitting.batchnorm import estimate, statistics
from training.fitting.image_sizes import resized, side_at
from training.fitting.losses import CROSS_ENTROPY, ExitLosses, LossRecipe
from training.fitting.parallel import ALONE, Processes, balance
from training.methods.interface import Batch, Phase, Snapshot
from training.models.flops import exit_flops, segment_flops
from training.models.multi_exit import MultiExitModel
from training.models.reach import row_reach, trainable, whole_reach
from training.schedules import LossWeighting, plain, stage
from training.setup.batchnorm import batchnorm_biases
from training.setup.compiling import compiled
from training.setup.learning_rates import rate_factors


class Means:
    """Running mean of each exit's loss over a phase, and how many images it has seen."""

    def __init__(self) -> None:
        self.images = 0
        self._sums: dict[int, float] = {}
        self._counts: dict[int, int] = {}

    def add(self, losses: list[dict[int, float]], exits: Sequence[int] | None) -> None:
        """Take in the losses of some steps: those of `exits`, or all where None."""
        for step in losses:
            for exit_index, loss in step.items():
                if exits is not None and exit_index not in exits:
                    continue
                self._sums[exit_index] = self._sums.get(exit_index, 0.0) + loss
                self._counts[exit_index] = self._counts.get(exit_index, 0) + 1

    def means(self) -> dict[int, float]:
        """Return the mean per exit."""
        return {exit_index: total / self._counts[exit_index] for exit_index, total in self._sums.items()}


CHECK_EVERY_STEPS = 16  # losses are fetched this often: on a GPU every fetch waits for the device


class TrainingImages(Protocol):
    """The training images as seeded streams of batches."""

    def train(self, epoch: int, phase: str, share: float = 1.0, part: slice = slice(None)) -> Iterator[Batch]:
        """Yield augmented batches in an order that depends on the seed, the epoch and the phase alone."""

    def steps(self, share: float = 1.0) -> int:
        """Return how many batches such a pass has."""


@dataclass(frozen=True)
class Recipe:
    """How SGD is run.

    Args:
        lr: the learning rate at the start of the run.
        momentum: SGD's momentum.
        weight_decay: L2 penalty, on every parameter that has a gradient.
        schedule: learning-rate factor as a function of the stage's progress in 0..1.
        epochs: length of the run.
        seed: of everything random in training but the data's own streams (dropout).
        bf16: run forward passes in bfloat16 autocast.
        loss_weighting: what each exit's loss counts, as a function of exits, epoch and epochs of the stage.
        loss: what each exit's loss is made of.
        backbone_epochs: length of the stage that trains the last exit alone.
        nesterov: look ahead along the momentum.
        decoupled_weight_decay: `weight_decay` is the share of the weights that a step takes at the schedule's
            factor 1, before momentum adds steps up; otherwise it is that share over the learning rate.
        bias_lr: what the learning rate of BatchNorm's biases is multiplied by; their decay stays.
        start_size: side of the training images at first, in pixels; see `training.fitting.image_sizes`.
        compiled: train the model as compiled by `torch.compile`.
        backbone_lr: what the learning rate of all but the early exits' heads is multiplied by.
        layer_decay: what that of each segment is multiplied by over the next one's.
    """

    lr: float
    momentum: float
    weight_decay: float
    schedule: Callable[[float], float]
    epochs: int
    seed: int = 0
    bf16: bool = False
    loss_weighting: LossWeighting = plain
    loss: LossRecipe = CROSS_ENTROPY
    backbone_epochs: int = 0
    nesterov: bool = False
    decoupled_weight_decay: bool = False
    bias_lr: float = 1.0
    start_size: int | None = None
    compiled: bool = False
    backbone_lr: float = 1.0
    layer_decay: float = 1.0

    @property
    def l2_penalty(self) -> float:
        """SGD's weight decay, which it multiplies by the learning rate."""
        return self.weight_decay / self.lr if self.decoupled_weight_decay else self.weight_decay


@dataclass(frozen=True)
class Progress:
    """The progress of a phase: steps done of all, and the mean loss of each exit it trains (0-based)."""

    phase: str
    step: int
    steps: int
    images: int
    losses: dict[int, float]


class TrainingProblem:
    """Implements `training.methods.interface.Problem` for a model, its images and a recipe.

    `epoch` (0-based) is set by the caller, as it begins; `on_progress` gets a phase's progress every few
    steps, and `on_step` is called for every step taken.

    Args:
        model: trained in place.
        images: where batches come from.
        recipe: how SGD is run.
        processes: those of the run, and the work that they divide.
        original: the net that the run began with, where exits learn from that.
    """

    def __init__(
        self,
        model: MultiExitModel,
        images: TrainingImages,
        recipe: Recipe,
        processes: Processes = ALONE,
        original: MultiExitModel | None = None,
    ) -> None:
        self.parameters: Sequence[nn.Parameter] = trainable(model)
        rows = row_reach(model)
        # A frozen last exit has nothing to learn: methods are not told of it, and its layers are not run.
        learning = whole_reach(rows).any(1).tolist()
        exits = len(learning) - learning[::-1].index(True)
        self.row_reach: Sequence[Tensor] = [reached[:exits] for reached in rows]
        self.reach: Tensor = whole_reach(self.row_reach)
        self._epoch = 0
        self.on_progress: Callable[[Progress], None] = lambda _: None
        self.on_step: Callable[[], None] = lambda: None
        self._model, self._images, self._recipe, self._processes = model, images, recipe, processes
        self._forward: Callable[..., list[Tensor]] = model
        if recipe.compiled:
            self.compile()
        self._exit_losses = ExitLosses(model, recipe.loss, original)
        self._progress = 0.0
        self._losses: list[tuple[Sequence[int], Tensor]] = []
        self._means: dict[str, Means] = {}

    def compile(self) -> None:
        """Train the model as `torch.compile` makes it, from now on."""
        self._forward = compiled(self._model)

    @property
    def epoch(self) -> int:
        """The epoch at hand, from 0."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch = epoch
        self._exit_losses.begin(epoch)

    def batches(self, phase: Phase) -> Iterator[Batch]:
        """Yield the phase's batches and keep count; the model is in training mode meanwhile.

        Images are as small as the recipe says.
        """
        for batch in self._full_size_batches(phase):
            yield self._resized(batch)

    def _full_size_batches(self, phase: Phase) -> Iterator[Batch]:
        self._model.train()
        part, parts = self._processes.slice  # dropout is drawn anew for every slice of a batch
        stream = f"{phase.name} {phase.part[0]}" if phase.part[0] else phase.name
        torch.manual_seed(_stream_seed(self._recipe.seed, self.epoch, stream, *[part] * (parts > 1)))
        steps = self.batch_count(phase)
        own = phase.batches_of(steps)
        if phase.part[0] == 0:
            self._means[phase.name] = Means()
        sums = self._means[phase.name]
        epochs_done, epochs = self._stage()
        batches = self._images.train(self.epoch, phase.name, phase.share, slice(own.start, own.stop))
        for done, batch in zip(own, batches, strict=True):
            self._progress = (epochs_done + done / steps) / epochs
            yield batch
            sums.images += len(batch.labels)
            if (done + 1) % CHECK_EVERY_STEPS == 0 or done + 1 == own.stop:
                sums.add(self._fetch(phase, done + 1), phase.exits)
                self.on_progress(Progress(phase.name, done + 1, steps, sums.images, sums.means()))

    def batch_count(self, phase: Phase) -> int:
        """Return how many batches the phase's whole pass has."""
        return self._images.steps(phase.share)

    def losses(self, batch: Batch, exits: Sequence[int], weighted: bool = True) -> list[Tensor]:
        """Return the mean loss of each of `exits` over the batch, made and weighted as the recipe says."""
        with self._autocast(batch.labels.device.type):
            logits = self._forward(batch.images, exits)
            cross_entropies, losses = self._exit_losses(batch, exits, logits, self.epoch)
        # The reported loss, watched for NaN, is the plain cross-entropy: weights that change, smoothing
        # and distillation hide how it goes.
        self._losses.append((exits, torch.stack(cross_entropies).detach()))
        if not weighted or self._recipe.loss_weighting is plain:
            return losses
        weights = self._recipe.loss_weighting(self._model.exits, *self._stage())
        return [weights[exit_index] * loss for exit_index, loss in zip(exits, losses, strict=True)]

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors, in place, by their means over the processes that share each batch."""
        if self._processes.divide == "batches":
            self._processes.average(tensors)

    def owners(self, tasks: Sequence[Sequence[int]]) -> list[int | None]:
        """Return which process trains each task, so that none has much more to do than another."""
        if self._processes.divide != "tasks":
            return [None] * len(tasks)
        costs = exit_flops(segment_flops(self._model))
        return [*balance([costs[exits[-1]] for exits in tasks], self._processes.count)]

    def owns(self, owner: int | None) -> bool:
        """Tell whether this process is that owner, or one of all."""
        return owner in (None, self._processes.number)

    def hand_out(self, tensors: Sequence[Tensor], owner: int | None) -> None:
        """Replace tensors, in place, by those of their owner; nothing where every process owns them."""
        if owner is not None:
            self._processes.hand_out(tensors, owner)

    def agree(self, state: Sequence[Tensor] = ()) -> None:
        """Bring the processes together at the end of an epoch.

        Those that share each batch average BatchNorm's running statistics: all else is equal. Those that
        divide tasks take over the first one's parameters, buffers and `state`: what each computed by itself
        from the same moves may differ in rounding, and the next epoch's moves would then start from different
        weights.

        Args:
            state: tensors of the method, changed in place.
        """
        self.average(statistics(self._model))
        if self._processes.divide == "tasks":
            with torch.no_grad():
                own = [*(p.detach() for p in self.parameters), *self._model.buffers()]
                self._processes.hand_out([*own, *state], 0)

    def generator(self, purpose: str, step: int) -> np.random.Generator:
        """Return random numbers that depend on seed, epoch, purpose and step alone."""
        return generator(self._recipe.seed, purpose, self.epoch, step)

    def optimizer(self) -> torch.optim.Optimizer:
        """Return fresh SGD, with a group of parameters for each learning rate."""
        recipe = self._recipe
        factors = rate_factors(self._model, recipe.backbone_lr, recipe.layer_decay)
        fast = set(batchnorm_biases(self._model)) if recipe.bias_lr != 1 else set()
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for parameter in self.parameters:
            more = recipe.bias_lr if parameter in fast else 1.0
            groups.setdefault((factors[parameter], more), []).append(parameter)
        decay = recipe.l2_penalty
        return torch.optim.SGD(
            [
                {
                    "params": own,
                    "times": factor * more,
                    "weight_decay": decay / more / (factor if recipe.decoupled_weight_decay else 1.0),
                }
                for (factor, more), own in groups.items()
            ],
            lr=recipe.lr,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
        )

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Take one step at the schedule's learning rate, along the gradient of the whole batch."""
        self.average([p.grad for p in self.parameters if p.grad is not None])
        rate = self._recipe.lr * self._recipe.schedule(self._progress)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("times", 1.0)  # checkpoints from before have none
        optimizer.step()
        self.on_step()

    def snapshot(self) -> Snapshot:
        """Copy the parameters and buffers."""
        return Snapshot(
            [parameter.detach().clone() for parameter in self.parameters],
            {name: buffer.clone() for name, buffer in self._model.named_buffers()},
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Set the parameters and buffers to a snapshot's values, in place."""
        with torch.no_grad():
            torch._foreach_copy_([p.detach() for p in self.parameters], snapshot.parameters)
            for name, buffer in self._model.named_buffers():
                buffer.copy_(snapshot.buffers[name])

    def estimate_batchnorm(self, phase: Phase, model: MultiExitModel | None = None) -> None:
        """Replace BatchNorm's running statistics by the average over the phase's batches, at full size.

        Args:
            phase: the pass over the data.
            model: whose statistics; those of the model in training where None.
        """
        model = self._model if model is None else model
        with self._autocast(model.mean.device.type):
            estimate(model, (batch.images for batch in self._full_size_batches(phase)))
        self.average(statistics(model))

    def _resized(self, batch: Batch) -> Batch:
        start, full = self._recipe.start_size, self._model.image_size
        if start is None:
            return batch
        return _Resized(resized(batch.images, side_at(self._progress, start, full)), batch.labels)

    def _stage(self) -> tuple[int, int]:
        return stage(self.epoch, self._recipe.epochs, self._recipe.backbone_epochs)

    def _autocast(self, device_type: str) -> AbstractContextManager[None]:
        return torch.autocast(device_type, torch.bfloat16, enabled=self._recipe.bf16)

    def _fetch(self, phase: Phase, done: int) -> list[dict[int, float]]:
        """Bring the losses since the last fetch to the host; the first that is not finite stops the run."""
        recent, self._losses = self._losses, []
        fetched = [dict(zip(exits, losses.tolist(), strict=True)) for exits, losses in recent]
        for offset, losses in enumerate(fetched):
            for exit_index, loss in losses.items():
                if not np.isfinite(loss):
                    raise NonFiniteLossError(
                        f"the loss of exit {exit_index + 1} is {loss} in epoch {self.epoch + 1}, "
                        f"phase {phase.name!r}, step {done - len(fetched) + offset + 1}; "
                        f"lower --lr (now {self._recipe.lr}) or use --precision float32"
                    )
        return fetched


@dataclass(frozen=True)
class _Resized:
    """A batch whose images have another size."""

    images: Tensor
    labels: Tensor


def _stream_seed(seed: int, epoch: int, phase: str, *part: int) -> int:
    """Return a seed of its own for every phase of every epoch: what a resumed run draws needs no past."""
    sequence = np.random.SeedSequence([seed, epoch, zlib.crc32(phase.encode()), *part])
    return int(sequence.generate_state(1)[0])
