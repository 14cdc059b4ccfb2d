"""A method's view of a training run: parameters, batches, losses per exit. No model, no data set."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn
from torch.optim import Optimizer


@dataclass(frozen=True)
class Snapshot:
    """Copies of all parameters, in order, and of all buffers (BatchNorm's running statistics), by name."""

    parameters: list[Tensor]
    buffers: dict[str, Tensor]


@dataclass(frozen=True)
class Phase:
    """One pass that a method makes over (a share of) the training images within an epoch.

    Args:
        name: keys the pass's random streams, so it is unique within the epoch.
        share: how much of the images it sees, in 0..1.
        exits: the exits that it is about: their losses are reported. All whose loss it takes, where None.
        part: which of how many successive parts of the pass, as even as its batches allow; all of it in one.
    """

    name: str
    share: float = 1.0
    exits: Sequence[int] | None = None
    part: tuple[int, int] = (0, 1)

    def batches_of(self, batches: int) -> range:
        """Return which of the whole pass's batches are of this part.

        >>> [len(Phase("fusion", part=(number, 4)).batches_of(10)) for number in range(4)]
        [2, 3, 2, 3]
        """
        number, parts = self.part
        return range(number * batches // parts, (number + 1) * batches // parts)


class Batch(Protocol):
    """A batch of training images; a method hands it on and looks into it no further."""

    @property
    def images(self) -> UInt8[Tensor, "n h w 3"]:
        """Images as they are served, uint8 [N, H, W, 3]."""

    @property
    def labels(self) -> Int64[Tensor, " n"]:
        """Class indices, int64 [N]."""


class MultiExitProblem(Protocol):
    """The losses of n exits as functions of shared parameters, and the data they are summed over.

    `reach` is bool [exits, parameters]: which exits' losses depend on which parameter. `row_reach` says it
    for every row (index of the first dimension) of each parameter, bool [exits, rows]; [exits, 1] where an
    exit reaches all of its rows or none.
    """

    parameters: Sequence[nn.Parameter]
    reach: Bool[Tensor, "exits parameters"]

    @property
    def row_reach(self) -> Sequence[Bool[Tensor, "exits _"]]:
        """Per parameter, which exits reach which rows."""

    def batches(self, phase: Phase) -> Iterable[Batch]:
        """Yield the phase's batches; their order and augmentation depend on seed, epoch and phase alone.

        The parts of a pass are taken in order, others between them as may be.
        """

    def batch_count(self, phase: Phase) -> int:
        """Return how many batches the phase's whole pass has, all parts together."""

    def losses(
        self, batch: Batch, exits: Sequence[int], weighted: bool = True
    ) -> Sequence[Float[Tensor, ""]]:
        """Return the mean loss of each of `exits`, one scalar each; layers after the deepest are not run.

        They are not stacked: the gradient of one row of a stack runs through the graphs of all of them.

        Args:
            batch: the images.
            exits: 0-based, ascending.
            weighted: times each exit's weight in the run's loss weighting, or plain.
        """

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors, in place, by their means over the processes that share each batch."""

    def owners(self, tasks: Sequence[Sequence[int]]) -> Sequence[int | None]:
        """Return which process trains each task (its exits); None where every process trains all of them."""

    def owns(self, owner: int | None) -> bool:
        """Tell whether this process is that owner, or one of all."""

    def hand_out(self, tensors: Sequence[Tensor], owner: int | None) -> None:
        """Replace tensors, in place, by those of their owner; nothing where every process owns them."""

    def generator(self, purpose: str, step: int) -> np.random.Generator:
        """Return random numbers that depend on seed, epoch, purpose and step alone."""

    def optimizer(self) -> Optimizer:
        """Return a fresh optimizer over all parameters, with no memory of earlier steps."""

    def step(self, optimizer: Optimizer) -> None:
        """Take one step at the schedule's learning rate."""

    def snapshot(self) -> Snapshot:
        """Copy the parameters and buffers."""

    def restore(self, snapshot: Snapshot) -> None:
        """Set the parameters and buffers to a snapshot's values, in place."""

    def estimate_batchnorm(self, phase: Phase) -> None:
        """Replace BatchNorm's running statistics by those of the phase's batches, forward only."""
