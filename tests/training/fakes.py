"""A training problem small enough to check by hand: quadratics whose exits pull in different directions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from training.methods.problem import Batch, Phase, Snapshot


@dataclass(frozen=True)
class FakeBatch:
    """Nothing but a scale of the loss."""

    images: Tensor
    labels: Tensor


@dataclass
class Quadratics:
    """Exit k's loss is half the squared distance of its parameters from `targets[k]`.

    Parameter 0 is shared by all exits, parameter k + 1 belongs to exit k alone.
    """

    targets: Tensor  # [exits, size]
    lr: float = 0.5
    steps: int = 1
    phases: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        exits, size = self.targets.shape
        self.parameters: Sequence[nn.Parameter] = [
            nn.Parameter(torch.zeros(size, dtype=self.targets.dtype)) for _ in range(exits + 1)
        ]
        self.reach = torch.cat(
            [torch.ones(exits, 1, dtype=torch.bool), torch.eye(exits, dtype=torch.bool)], 1
        )
        self.statistics = torch.zeros(1)

    def batches(self, phase: Phase) -> Iterator[Batch]:
        self.phases.append(phase.name)
        for _ in range(self.steps):
            yield FakeBatch(torch.ones(1), torch.zeros(1, dtype=torch.int64))

    def losses(self, batch: Batch, exits: Sequence[int]) -> Tensor:
        self.statistics += 1  # as BatchNorm would move its running statistics
        distances = []
        for k in exits:
            own, shared = self.parameters[k + 1] - self.targets[k], self.parameters[0] - self.targets[k]
            distances.append((own**2 + shared**2).sum() / 2)
        return torch.stack(distances)

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
