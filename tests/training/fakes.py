"""A training problem small enough to check by hand: quadratics whose exits pull in different directions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from training.data.seeds import generator
from training.methods.interface import Batch, Phase, Snapshot


@dataclass(frozen=True)
class FakeBatch:
    """Nothing but a scale of the loss."""

    images: Tensor
    labels: Tensor


@dataclass
class Quadratics:
    """Exit k's loss is half the squared distance of its parameters from `targets[k]`.

    Parameter 0 is shared by all exits, parameter k + 1 belongs to exit k alone, and the last one is used by
    all exits but the first, as a deeper block is.
    """

    targets: Tensor  # [exits, size]
    lr: float = 0.5
    steps: int = 1
    weights: Sequence[float] = ()  # of the exits' losses; 1 where empty
    epoch: int = 0
    phases: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        exits, size = self.targets.shape
        self.parameters: Sequence[nn.Parameter] = [
            nn.Parameter(torch.zeros(size, dtype=self.targets.dtype)) for _ in range(exits + 2)
        ]
        deeper = torch.arange(exits).unsqueeze(1) > 0
        self.reach = torch.cat(
            [torch.ones(exits, 1, dtype=torch.bool), torch.eye(exits, dtype=torch.bool), deeper], 1
        )
        self.statistics = torch.zeros(1)

    @property
    def row_reach(self) -> Sequence[Tensor]:
        return [used.unsqueeze(1) for used in self.reach.T]

    def agree(self) -> "Quadratics":
        """Bring the deeper parameter home, so that exits of equal targets have equal gradients."""
        with torch.no_grad():
            self.parameters[-1].copy_(self.targets[-1])
        return self

    def batches(self, phase: Phase) -> Iterator[Batch]:
        self.phases.append(phase.name)
        for _ in phase.batches_of(self.steps):
            yield FakeBatch(torch.ones(1), torch.zeros(1, dtype=torch.int64))

    def batch_count(self, phase: Phase) -> int:
        return self.steps

    def losses(self, batch: Batch, exits: Sequence[int], weighted: bool = True) -> list[Tensor]:
        self.statistics += 1  # as BatchNorm would move its running statistics
        losses = []
        for k in exits:
            used = [p for p, reached in zip(self.parameters, self.reach[k], strict=True) if reached]
            distance = torch.stack([((p - self.targets[k]) ** 2).sum() / 2 for p in used]).sum()
            losses.append(distance * self.weights[k] if weighted and self.weights else distance)
        return losses

    def generator(self, purpose: str, step: int) -> np.random.Generator:
        return generator(0, purpose, self.epoch, step)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Alone, there is nothing to average with."""

    def owners(self, tasks: Sequence[Sequence[int]]) -> Sequence[int | None]:
        return [None] * len(tasks)

    def owns(self, owner: int | None) -> bool:
        return owner is None

    def hand_out(self, tensors: Sequence[Tensor], owner: int | None) -> None:
        assert owner is None

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters, lr=self.lr, momentum=0.9)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        optimizer.step()

    def snapshot(self) -> Snapshot:
        return Snapshot(
            [p.detach().clone() for p in self.parameters], {"statistics": self.statistics.clone()}
        )

    def restore(self, snapshot: Snapshot) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.parameters, snapshot.parameters, strict=True):
                parameter.copy_(value)
            self.statistics.copy_(snapshot.buffers["statistics"])

    def estimate_batchnorm(self, phase: Phase) -> None:
        self.phases.append(phase.name)
        self.statistics.fill_(-1)
