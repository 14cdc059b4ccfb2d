"""Meta-GF's tasks: each trains some exits alone for an epoch, and what it moved is its expected gradient."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from training.methods.interface import MultiExitProblem, Phase, Snapshot


@dataclass(frozen=True)
class Task:
    """Exits that are trained together from the shared start, as a rule a single one."""

    exits: tuple[int, ...]
    share: float = 1.0

    @property
    def phase(self) -> Phase:
        """The task's pass over the data."""
        first, last = self.exits[0] + 1, self.exits[-1] + 1
        return Phase(f"exit {last}" if first == last else f"exits {first}–{last}", self.share, self.exits)


def tasks_of(exits: int, exits_per_task: int, share: float) -> list[Task]:
    """Divide the exits into tasks of neighbours; where they do not come out even, the first is smaller.

    >>> [task.exits for task in tasks_of(5, exits_per_task=2, share=1.0)]
    [(0,), (1, 2), (3, 4)]
    """
    ends = range(exits, 0, -exits_per_task)
    return [Task(tuple(range(max(0, end - exits_per_task), end)), share) for end in reversed(ends)]


def task_reach(
    tasks: Sequence[Task], reach: Bool[Tensor, "exits columns"]
) -> Bool[Tensor, "{len(tasks)} columns"]:
    """Return bool [tasks, parameters]: which tasks' exits depend on which parameter (or row of one)."""
    return torch.stack([reach[list(task.exits)].any(0) for task in tasks])


def task_row_reach(
    tasks: Sequence[Task], row_reach: Sequence[Bool[Tensor, "exits _"]]
) -> list[Bool[Tensor, "{len(tasks)} _"]]:
    """Return for each parameter which tasks' exits depend on which rows, bool [tasks, rows] or [tasks, 1]."""
    return [task_reach(tasks, reached) for reached in row_reach]


def expected_gradients(
    problem: MultiExitProblem, start: Snapshot, tasks: Sequence[Task], aux_weight: float = 0.0
) -> list[Float[Tensor, "_ _"]]:
    """Train each task from the shared start W0, and return what each moved.

    A task sees nothing of another: it starts from W0's parameters and buffers, with an optimizer of its own.
    Where processes divide the tasks among them, each gets the others' moves at the end.

    Args:
        problem: what is trained; left where the last task ended.
        start: W0.
        tasks: what to train.
        aux_weight: what the other exits' losses count in a task; with 0, layers behind its exits are not run.

    Returns:
        W_i − W0 of every parameter [tasks that reach it, size].
    """
    reach = task_reach(tasks, problem.reach)
    moves = [
        parameter.detach().new_empty(sharers, parameter.numel())
        for parameter, sharers in zip(problem.parameters, reach.sum(0).tolist(), strict=True)
    ]
    owners = problem.owners([task.exits for task in tasks])
    for number, (task, owner) in enumerate(zip(tasks, owners, strict=True)):
        if not problem.owns(owner):
            continue
        problem.restore(start)
        _train(problem, task, aux_weight)
        for index, row in _rows(reach, number):
            moved = problem.parameters[index].detach() - start.parameters[index]
            moves[index][row] = moved.flatten()
    for number, owner in enumerate(owners):
        problem.hand_out([moves[index][row] for index, row in _rows(reach, number)], owner)
    return moves


def _rows(reach: Bool[Tensor, "tasks parameters"], task: int) -> list[tuple[int, int]]:
    """Return every parameter that a task reaches, and the task's row among its moves."""
    indices = reach[task].nonzero().flatten().tolist()
    return [(index, int(reach[:task, index].sum())) for index in indices]


def _train(problem: MultiExitProblem, task: Task, aux_weight: float) -> None:
    optimizer = problem.optimizer()
    exits = range(len(problem.reach)) if aux_weight else task.exits
    for batch in problem.batches(task.phase):
        optimizer.zero_grad(set_to_none=True)
        losses = [
            loss if exit_index in task.exits else aux_weight * loss
            for exit_index, loss in zip(exits, problem.losses(batch, exits), strict=True)
        ]
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        problem.step(optimizer)
    optimizer.zero_grad(set_to_none=True)
