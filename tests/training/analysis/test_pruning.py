from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from training.analysis.pruning import Pool, accuracies_on_the_way, pool_of

REACH = np.array([[True, True, True, False], [True, True, False, True]])


def parameters() -> list[nn.Parameter]:
    """A shared weight of two channels, a shared bias, and a weight of each exit's own."""
    return [nn.Parameter(torch.ones(size)) for size in ((2, 3), (2,), (2, 2), (2, 2))]


WEIGHTS = {0: torch.tensor([[0.9, 0.2], [0.1, 0.8]]), 1: torch.tensor([[0.5, 0.5], [0.5, 0.5]])}


@pytest.mark.parametrize(("exit_index", "importance"), [(0, [1.8, 0.4]), (1, [0.2, 1.6])])
def test_a_pool_holds_shared_weights_and_what_they_are_worth(
    exit_index: int, importance: list[float]
) -> None:
    pool = pool_of(exit_index, parameters(), REACH, WEIGHTS)

    assert pool.indices == [0]
    assert pool.group.tolist() == [0, 0, 0, 1, 1, 1]
    assert pool.importance == pytest.approx(importance)


def test_an_exit_that_shares_nothing_has_an_empty_pool() -> None:
    assert len(pool_of(0, parameters(), REACH, {}).group) == 0


POOL = Pool([0], [6], np.array([0, 0, 1, 1, 1, 2]), np.array([0.5, 1.5, 1.0]))


def test_the_most_important_group_goes_first_and_whole() -> None:
    order = POOL.order(np.random.default_rng(0), important_first=True)

    assert POOL.group[order].tolist() == [1, 1, 1, 2, 0, 0]
    assert sorted(order) == list(range(6))


def test_the_control_walks_whole_groups_by_chance() -> None:
    walks = {
        tuple(POOL.group[POOL.order(np.random.default_rng(seed), important_first=False)])
        for seed in range(50)
    }

    assert len(walks) == 6  # every order of the three groups
    assert all(sum(a != b for a, b in pairwise(walk)) == 2 for walk in walks)


def test_weights_are_pruned_in_order_and_put_back() -> None:
    weight = nn.Parameter(torch.arange(1.0, 7.0).view(2, 3))
    order = np.array([5, 0, 3, 1, 2, 4])

    seen = accuracies_on_the_way([weight], POOL, order, [1, 3], lambda: weight.flatten().tolist())

    assert seen.tolist() == [[1, 2, 3, 4, 5, 0], [0, 2, 3, 0, 5, 0]]
    assert weight.flatten().tolist() == [1, 2, 3, 4, 5, 6]


def test_weights_are_put_back_when_measuring_breaks() -> None:
    weight = nn.Parameter(torch.ones(2, 3))

    def broken() -> list[float]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        accuracies_on_the_way([weight], POOL, np.arange(6), [6], broken)
    assert weight.sum() == 6
