"""Several processes on one run, as `torchrun` starts them: their ranks, and their agreement.

Data parallel: every process takes its slice of each batch, and gradients are averaged before anything is done
with them. Task parallel (Meta-GF): every process trains some of an outer epoch's tasks, which depend on W0
alone, and hands what they moved to the others; the fusion then runs on every process alike. Rounding may
differ between devices, so at the end of an epoch all take over what the first process has.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from training.config import Divide

PATIENCE = timedelta(hours=4)
"""Seconds that a process waits for the others; the first validates alone, and tasks are not of one length."""


@dataclass(frozen=True)
class Processes:
    """This process's number among those that train together; alone, every exchange is a no-op.

    Args:
        number: this process's, from 0 (torchrun's rank).
        count: how many there are.
        divide: "batches" for data parallel, "tasks" for task parallel.
    """

    number: int = 0
    count: int = 1
    divide: Divide = "batches"

    @property
    def first(self) -> bool:
        """Whether this is the one that validates, logs and saves."""
        return self.number == 0

    @property
    def slice(self) -> tuple[int, int]:
        """Which of how many slices of each batch this process takes."""
        return (self.number, self.count) if self.divide == "batches" else (0, 1)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace every tensor by its mean over the processes, in place; one exchange per data type."""
        if self.count == 1:
            return
        for dtype in sorted({tensor.dtype for tensor in tensors}, key=str):
            same = [tensor for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.reshape(-1) for tensor in same])
            dist.all_reduce(flat)
            parts = (flat / self.count).split_with_sizes([tensor.numel() for tensor in same])
            for tensor, part in zip(same, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def hand_out(self, tensors: Sequence[Tensor], source: int) -> None:
        """Replace every tensor by that of process `source`, in place; one exchange per type and device."""
        if self.count == 1:
            return
        kinds = {(str(tensor.dtype), str(tensor.device)) for tensor in tensors}
        for kind in sorted(kinds):
            same = [tensor for tensor in tensors if (str(tensor.dtype), str(tensor.device)) == kind]
            flat = torch.cat([tensor.reshape(-1) for tensor in same])
            dist.broadcast(flat, source)
            parts = flat.split_with_sizes([tensor.numel() for tensor in same])
            for tensor, part in zip(same, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def wait(self) -> None:
        """Go on when all processes have come here."""
        if self.count > 1:
            dist.barrier()

    def any(self, flag: bool) -> bool:
        """Tell whether any process says so."""
        if self.count == 1:
            return flag
        votes = torch.tensor(float(flag))
        dist.all_reduce(votes)
        return bool(votes > 0)


ALONE = Processes()


@contextmanager
def joined(divide: Divide) -> Iterator[Processes]:
    """Join the processes that torchrun started, for as long as the context lasts; alone without torchrun.

    Args:
        divide: what the processes divide among them.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    if dist.is_initialized():  # by a caller that trains several runs: the processes can be joined only once
        yield Processes(dist.get_rank(), dist.get_world_size(), divide)
        return
    # The host's side of every exchange goes over gloo, the device's over NCCL.
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    try:
        yield Processes(dist.get_rank(), dist.get_world_size(), divide)
    finally:
        dist.destroy_process_group()


def tensors_in(state: Any) -> list[Tensor]:
    """Return the tensors in nested mappings and sequences, such as a method's state, in order."""
    if isinstance(state, Tensor):
        return [state]
    if isinstance(state, Mapping):
        return [tensor for value in state.values() for tensor in tensors_in(value)]
    if isinstance(state, list | tuple):
        return [tensor for value in state for tensor in tensors_in(value)]
    return []


def balance(costs: Sequence[float], processes: int) -> list[int]:
    """Give each task to a process so that the busiest has little to do: longest first, each to the idlest.

    Source: Graham, "Bounds on Multiprocessing Timing Anomalies", SIAM J. Appl. Math. 1969 (LPT rule).

    Args:
        costs: of each task, in any unit.
        processes: how many there are.

    Returns:
        The process of each task.

    >>> balance([1, 2, 3, 4], processes=2)
    [0, 1, 1, 0]
    """
    loads, owners = [0.0] * processes, [0] * len(costs)
    for task in sorted(range(len(costs)), key=lambda index: (-costs[index], index)):
        owners[task] = min(range(processes), key=lambda process: (loads[process], process))
        loads[owners[task]] += costs[task]
    return owners
