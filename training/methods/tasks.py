"""Meta-GF's tasks: each trains some exits alone for an epoch, and what it moved is its expected gradient."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.optim import Optimizer

from training.methods.interface import MultiExitProblem, Phase, Snapshot


@dataclass(frozen=True)
class Task:
    """Exits that are trained together from the shared start, as a rule a single one."""

    exits: tuple[int, ...]
    share: float = 1.0
    part: tuple[int, int] = (0, 1)

    @property
    def phase(self) -> Phase:
        """The task's pass over the data, or the part of it that is trained on now."""
        first, last = self.exits[0] + 1, self.exits[-1] + 1
        name = f"exit {last}" if first == last else f"exits {first}–{last}"
        return Phase(name, self.share, self.exits, self.part)


def tasks_of(exits: int, exits_per_task: int, share: float) -> list[Task]:
    """Divide the exits into tasks of neighbours; where they do not come out even, the first is smaller.

    >>> [task.exits for task in tasks_of(5, exits_per_task=2, share=1.0)]
    [(0,), (1, 2), (3, 4)]
    """
    ends = range(exits, 0, -exits_per_task)
    return [Task(tuple(range(max(0, end - exits_per_task), end)), share) for end in reversed(ends)]


def outer_steps(problem: MultiExitProblem, tasks: Sequence[Task], task_batches: int | None) -> int:
    """Return how many outer steps an epoch has, so that no task takes more than `task_batches` in one."""
    if task_batches is None:
        return 1
    return max(1, ceil(problem.batch_count(tasks[0].phase) / task_batches))


class TaskOptimizers:
    """An optimizer of each task that lives on, so that the task's momentum does.

    Momenta begin at 0, which is how SGD begins without any: each process then has those of all tasks.

    Args:
        problem: what is trained.
        tasks: whose optimizers.
        every: whether tasks have gradients of all parameters, or of those alone that they reach.
    """

    def __init__(self, problem: MultiExitProblem, tasks: Sequence[Task], every: bool) -> None:
        self._optimizers = [problem.optimizer() for _ in tasks]
        reach = task_reach(tasks, problem.reach)
        for optimizer, reached in zip(self._optimizers, reach.tolist(), strict=True):
            for parameter, its_own in zip(problem.parameters, reached, strict=True):
                if every or its_own:
                    optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter.detach())

    def __getitem__(self, task: int) -> Optimizer:
        """Return a task's optimizer, by the task's number."""
        return self._optimizers[task]

    def momenta(self, task: int) -> list[Tensor]:
        """Return a task's momenta."""
        return [state["momentum_buffer"] for state in self._optimizers[task].state.values()]

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the momenta of all tasks."""
        return [optimizer.state_dict() for optimizer in self._optimizers]

    def load_state_dict(self, states: Sequence[dict[str, Any]]) -> None:
        """Go on with saved momenta."""
        for optimizer, state in zip(self._optimizers, states, strict=True):
            optimizer.load_state_dict(state)


def parts_of(tasks: Sequence[Task], part: tuple[int, int]) -> list[Task]:
    """Return the tasks with a part of their passes."""
    return [replace(task, part=part) for task in tasks]


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
    problem: MultiExitProblem,
    start: Snapshot,
    tasks: Sequence[Task],
    aux_weight: float = 0.0,
    optimizers: TaskOptimizers | None = None,
) -> list[Float[Tensor, "_ _"]]:
    """Train each task from the shared start W0, and return what each moved.

    A task sees nothing of another: it starts from W0's parameters and buffers, with an optimizer of its own.
    Where processes divide the tasks among them, each gets the others' moves, and momenta, at the end.

    Args:
        problem: what is trained; left where the last task ended.
        start: W0.
        tasks: what to train.
        aux_weight: what the other exits' losses count in a task; with 0, layers behind its exits are not run.
        optimizers: those that the tasks go on with; fresh ones where None.

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
        _train(problem, task, aux_weight, optimizers[number] if optimizers else problem.optimizer())
        for index, row in _rows(reach, number):
            moved = problem.parameters[index].detach() - start.parameters[index]
            moves[index][row] = moved.flatten()
    for number, owner in enumerate(owners):
        momenta = optimizers.momenta(number) if optimizers else []
        problem.hand_out([*(moves[index][row] for index, row in _rows(reach, number)), *momenta], owner)
    return moves


def _rows(reach: Bool[Tensor, "tasks parameters"], task: int) -> list[tuple[int, int]]:
    """Return every parameter that a task reaches, and the task's row among its moves."""
    indices = reach[task].nonzero().flatten().tolist()
    return [(index, int(reach[:task, index].sum())) for index in indices]


def _train(problem: MultiExitProblem, task: Task, aux_weight: float, optimizer: Optimizer) -> None:
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
