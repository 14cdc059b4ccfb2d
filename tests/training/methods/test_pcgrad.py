import numpy as np
import pytest
import torch
import torchjd.aggregation
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from training.methods.pcgrad import pcgrad, pcgrad_weights

SEEDS = st.integers(0, 10_000)


def drawn(seed: int, exits: int, size: int = 5) -> Tensor:
    return torch.randn(exits, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_the_book(gradients: Tensor, orders: np.ndarray) -> Tensor:
    """Algorithm 1 of the paper, on vectors."""
    total = torch.zeros_like(gradients[0])
    for i, order in enumerate(orders):
        projected = gradients[i].clone()
        for j in order:
            inner = projected @ gradients[j]
            if j != i and inner < 0:
                projected -= inner / (gradients[j] @ gradients[j]) * gradients[j]
        total += projected
    return total


@pytest.mark.parametrize(
    ("gradients", "orders", "expected"),
    [
        # No conflict: the sum.
        ([[1, 0], [0, 2]], [[0, 1], [0, 1]], [1, 2]),
        # ⟨g1, g2⟩ = −1: g1 + ½·g2 = (½, ½); g2 + g1 = (0, 1).
        ([[1, 0], [-1, 1]], [[0, 1], [0, 1]], [0.5, 1.5]),
        # Opposite: nothing is left of either.
        ([[1, 0], [-3, 0]], [[0, 1], [0, 1]], [0, 0]),
        # g1 meets g2 first: (½, ½), and then g3 = (−1, 0): + ½·g3 = (0, ½). g2 meets g1: (0, 1); g3 is past
        # conflict. g3 meets g1: (0, 0).
        ([[1, 0], [-1, 1], [-1, 0]], [[0, 1, 2], [0, 1, 2], [0, 1, 2]], [0, 1.5]),
        # The other way round g1 meets g3 first: (0, 0).
        ([[1, 0], [-1, 1], [-1, 0]], [[2, 1, 0], [2, 1, 0], [2, 1, 0]], [0, 1]),
        # A gradient that has vanished conflicts with nobody.
        ([[0, 0], [-1, 1]], [[0, 1], [0, 1]], [-1, 1]),
    ],
)
def test_values_by_hand(gradients: list[list[float]], orders: list[list[int]], expected: list[float]) -> None:
    matrix = torch.tensor(gradients, dtype=torch.float64)

    weights = pcgrad_weights(matrix @ matrix.T, np.array(orders))

    torch.testing.assert_close(weights @ matrix, torch.tensor(expected, dtype=torch.float64))


@settings(deadline=None)
@given(SEEDS, st.integers(2, 7))
def test_coefficients_do_what_the_paper_does_to_vectors(seed: int, exits: int) -> None:
    gradients = drawn(seed, exits)
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(exits), (exits, 1)), axis=1)

    found = pcgrad_weights(gradients @ gradients.T, orders) @ gradients

    torch.testing.assert_close(found, by_the_book(gradients, orders), rtol=1e-9, atol=1e-9)


@settings(deadline=None)
@given(SEEDS, st.integers(1, 7))
def test_it_is_torchjds_on_the_same_scale_and_orders(seed: int, exits: int) -> None:
    gradients = drawn(seed, exits)
    torch.manual_seed(seed)
    orders = torch.stack([torch.randperm(exits) for _ in range(exits)]).numpy()

    torch.manual_seed(seed)
    expected = torchjd.aggregation.PCGrad()(gradients)

    found = pcgrad_weights(gradients @ gradients.T, orders) @ gradients
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@settings(deadline=None)
@given(SEEDS, st.integers(1, 7))
def test_without_conflict_it_is_the_sum(seed: int, exits: int) -> None:
    gradients = drawn(seed, exits).abs()

    found = pcgrad(gradients, np.random.default_rng(seed))

    torch.testing.assert_close(found, gradients.sum(0))


def test_only_the_generator_decides_the_order() -> None:
    gradients = drawn(0, 5)

    def found(seed: int) -> Tensor:
        torch.rand(1)
        return pcgrad(gradients, np.random.default_rng(seed))

    assert torch.equal(found(3), found(3))
    assert any(not torch.equal(found(3), found(seed)) for seed in range(4, 9))
