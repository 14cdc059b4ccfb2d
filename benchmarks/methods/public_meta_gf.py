"""An outer epoch of Meta-GF as the authors' public code spends it, for benchmarks to compare with.

Written anew from its costs (github.com/SYVAE/MetaGF, as described in docs/methods.md): every task runs the
whole net for its own loss plus 0.1 of the others'; the fusion step copies the model, fuses inside the
autograd graph with one η per tensor and exit, and backpropagates to η; a pass over the training images
evaluates the result. Float32 throughout, and torch's default memory layout.
"""

import copy
from collections.abc import Iterator
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from training.methods.interface import Batch
from training.models.multi_exit import MultiExitModel


class Images(Protocol):
    """Passes over training images, by name."""

    def train(self, epoch: int, phase: str) -> Iterator[Batch]:
        """Yield the batches of a pass."""


class PublicWay:
    """Trains by the public way.

    Args:
        model: where every outer epoch starts from; it is left as it was, which costs no less.
        images: what it trains on.
    """

    def __init__(self, model: MultiExitModel, images: Images) -> None:
        self._model, self._images = model, images
        self._eta = [torch.ones(model.exits, requires_grad=True) for _ in model.parameters()]

    def epoch(self) -> None:
        """Run the tasks, the fusion and the evaluation."""
        start = copy.deepcopy(self._model)
        tasks = [self._task(copy.deepcopy(start), exit_index) for exit_index in range(start.exits)]
        self._fuse(start, tasks)
        with torch.no_grad():
            for batch in self._images.train(0, "evaluation"):
                start(batch.images)

    def _task(self, model: MultiExitModel, exit_index: int) -> list[Tensor]:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        model.train()
        for batch in self._images.train(0, f"exit {exit_index + 1}"):
            losses = [F.cross_entropy(logits, batch.labels) for logits in model(batch.images)]
            others = sum(losses[:exit_index] + losses[exit_index + 1 :], torch.zeros(()))
            optimizer.zero_grad()
            (losses[exit_index] + 0.1 * others).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return [parameter.detach() for parameter in model.parameters()]

    def _fuse(self, start: MultiExitModel, tasks: list[list[Tensor]]) -> None:
        adam = torch.optim.Adam(self._eta, lr=0.1)
        for batch in self._images.train(0, "fusion"):
            model = copy.deepcopy(start)
            fused = {}
            for index, (name, origin) in enumerate(start.named_parameters()):
                gates = torch.sigmoid(self._eta[index])
                moves = torch.stack([task[index] - origin.detach() for task in tasks])
                fused[name] = origin.detach() + torch.tensordot(gates / gates.sum(), moves, dims=1)
            logits = functional_call(model, fused, (batch.images,))
            loss = torch.stack([F.cross_entropy(exit_logits, batch.labels) for exit_logits in logits]).sum()
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
