"""The exits' gradients of the shared parameters, as Gram matrices: of mini-batches, and expected ones."""

from collections.abc import Callable

import numpy as np
import torch

from training.analysis.cosines import Floats, gram, shared_parameters
from training.methods.interface import MultiExitProblem, Phase
from training.methods.tasks import expected_gradients, tasks_of


def mini_batch_grams(
    problem: MultiExitProblem, share: float, advance: Callable[[], None] = lambda: None
) -> Floats:
    """Measure the gradients of each exit's own, unweighted loss on training batches.

    The net is in training mode, as when its gradients matter; parameters and buffers are left as they were.

    Args:
        problem: what is trained.
        share: of the training images that the batches are drawn from, in 0..1.
        advance: called after each batch.

    Returns:
        [batches, shared parameters, K, K].
    """
    reach, exits = problem.reach, range(len(problem.reach))
    shared = shared_parameters(reach)
    start, measured = problem.snapshot(), []
    for batch in problem.batches(Phase("conflict", share)):
        losses = problem.losses(batch, exits, weighted=False)
        rows: dict[int, list[torch.Tensor]] = {index: [] for index in shared}
        for exit_index, loss in zip(exits, losses, strict=True):
            mine = [index for index in shared if reach[exit_index, index]]
            wanted = [problem.parameters[index] for index in mine]
            gradients = torch.autograd.grad(loss, wanted, retain_graph=exit_index + 1 < len(exits))
            for index, gradient in zip(mine, gradients, strict=True):
                rows[index].append(gradient.flatten())
        measured.append(np.stack([gram(torch.stack(rows[index]), reach[:, index]) for index in shared]))
        advance()
    problem.restore(start)
    return np.stack(measured)


def expected_grams(problem: MultiExitProblem, share: float) -> Floats:
    """Measure Meta-GF's expected gradients W_i − W0: what an exit's task of its own moves, from here.

    Args:
        problem: what is trained; left as it was.
        share: of the training images that a task sees; 1 is the epoch of the poster's eq. 3.

    Returns:
        [1, shared parameters, K, K].
    """
    start = problem.snapshot()
    moves = expected_gradients(problem, start, tasks_of(len(problem.reach), exits_per_task=1, share=share))
    problem.restore(start)
    shared = shared_parameters(problem.reach)
    return np.stack([gram(moves[index], problem.reach[:, index]) for index in shared])[None]
