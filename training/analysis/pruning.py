"""Pruning by fusion weights: which weights go first, and what every exit's accuracy is on the way.

Meta-GF's fusion weight π_i of a parameter is how much of its move exit i decides. Its importance to exit i is
m·π_i, where m exits use the parameter: 1 is an equal share. (π_i itself would call everything important that
few exits use.) The most important go first. The unit is the group of elements that share a π (a tensor, a
channel or an element, as the run was trained): whole groups are set to zero in the order of importance, and
the group at which a step ends in part, at random elements. The random control walks the same groups in random
order, so that it prunes equally many weights in equally large pieces. Only weights of convolutions and linear
layers are pruned: a BatchNorm scale of zero would remove a channel at the price of one parameter.

Source: the poster's Fig. 4, which does not say how many parameters are pruned, nor in which unit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from training.analysis.cosines import Floats

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Pool:
    """The shared weights that one exit uses, as one flat vector of n elements.

    Args:
        indices: the parameters it is made of, in order.
        sizes: their elements.
        group: int64 [n], which elements share a fusion weight.
        importance: float64 [groups], m·π of the exit.
    """

    indices: Sequence[int]
    sizes: Sequence[int]
    group: Ints
    importance: Floats

    def order(self, random: np.random.Generator, important_first: bool) -> Ints:
        """Return the elements in the order of pruning, int64 [n].

        Args:
            random: decides between equals, and within a group.
            important_first: by importance, or by chance.
        """
        groups = len(self.importance)
        key = -self.importance if important_first else np.zeros(groups)
        rank = np.empty(groups, np.int64)
        rank[np.lexsort((random.permutation(groups), key))] = np.arange(groups)
        return np.lexsort((random.permutation(len(self.group)), rank[self.group]))


@dataclass(frozen=True, eq=False)
class Pruned:
    """The effect of pruning for one exit.

    Args:
        exit_index: from 0.
        pool: the weights that were pruned.
        counts: how many of them, at each step.
        important: accuracies [steps, K] in 0..1, the most important first.
        random: the same at random [draws, steps, K].
    """

    exit_index: int
    pool: Pool
    counts: Sequence[int]
    important: Floats
    random: Floats

    @property
    def harm(self) -> Floats:
        """Accuracy lost beyond random pruning [K], mean over the steps, in percentage points."""
        lost: Floats = 100 * (self.random.mean(0) - self.important)[1:].mean(0)
        return lost

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as `training.importance` describes them."""
        weights = self.pool.importance
        return {
            "exit": self.exit_index + 1,
            "parameters": len(self.pool.group),
            "groups": len(weights),
            "importance": {
                "mean": float(weights.mean()),
                "min": float(weights.min()),
                "max": float(weights.max()),
            },
            "pruned": list(self.counts),
            "important": self.important.tolist(),
            "random": self.random.tolist(),
        }


def pool_of(
    exit_index: int,
    parameters: Sequence[nn.Parameter],
    reach: npt.NDArray[np.bool_],
    weights: Mapping[int, Tensor],
) -> Pool:
    """Gather the shared weights of convolutions and linear layers that an exit uses.

    Args:
        exit_index: from 0.
        parameters: all parameters.
        reach: bool [K, parameters].
        weights: π [exits that reach it, groups] of every shared parameter, by its index.
    """
    indices, groups, importance, first = [], [], [], 0
    for index, pi in weights.items():
        if not reach[exit_index, index] or parameters[index].dim() < 2:
            continue
        sharers = (pi > 0).sum(0)  # of each group: exits that do not reach a row have no share of it
        mine = (sharers * pi[int(reach[:exit_index, index].sum())].double()).cpu().numpy()
        indices.append(index)
        importance.append(mine)
        groups.append(first + np.repeat(np.arange(len(mine)), parameters[index].numel() // len(mine)))
        first += len(mine)
    if not indices:
        return Pool((), (), np.zeros(0, np.int64), np.zeros(0))
    sizes = [parameters[index].numel() for index in indices]
    return Pool(indices, sizes, np.concatenate(groups), np.concatenate(importance))


def accuracies_on_the_way(
    parameters: Sequence[nn.Parameter],
    pool: Pool,
    order: Ints,
    counts: Sequence[int],
    accuracy: Callable[[], Sequence[float]],
) -> Floats:
    """Prune the first of `order`, ever more of them, and measure; the parameters are left as they were.

    Args:
        parameters: all parameters, set in place meanwhile.
        pool: the weights that are pruned.
        order: its elements, the first to go first.
        counts: how many are pruned at each measurement, rising.
        accuracy: measures the model, one value per exit.

    Returns:
        [counts, K].
    """
    kept = [parameters[index].detach().clone() for index in pool.indices]
    flat = torch.cat([tensor.flatten() for tensor in kept])
    measured = []
    try:
        for count in counts:
            flat[torch.from_numpy(order[:count]).to(flat.device)] = 0
            _place(parameters, pool, flat.split_with_sizes(list(pool.sizes)))
            measured.append(list(accuracy()))
    finally:
        _place(parameters, pool, kept)
    return np.asarray(measured, np.float64)


def _place(parameters: Sequence[nn.Parameter], pool: Pool, values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for index, value in zip(pool.indices, values, strict=True):
            parameters[index].copy_(value.view_as(parameters[index]))
