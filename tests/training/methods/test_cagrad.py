import math

import numpy as np
import pytest
import torch
import torchjd.aggregation
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from training.methods.cagrad import CAGradOptions, cagrad, cagrad_weights

SEEDS = st.integers(0, 10_000)
RADII = st.sampled_from([0.1, 0.4, 0.5, 0.9])

# Mean scale; the last three were computed with torchjd 0.18 (cvxpy, CLARABEL) to six digits.
GOLDEN = [
    # Equal gradients: (1 + c) times that gradient.
    ([[1, 2], [1, 2]], 0.4, [1.4, 2.8]),
    # Orthogonal and equally long: w = (½, ½), so d lies along the mean.
    ([[1, 0], [0, 1]], 0.4, [0.7, 0.7]),
    # On one line: the worst-off is the shorter, w = (1, 0), and d = g0 + c·‖g0‖ = 2 + 0.5·2.
    ([[1, 0], [3, 0]], 0.5, [3, 0]),
    ([[1, 0], [0, 2]], 0.5, [1.059017, 1]),
    ([[-4, 1, 1], [6, 1, 1]], 0.4, [0.346803, 1.163299, 1.163299]),
    ([[1, 0, 0], [-1, 1, 0], [0, -2, 1]], 0.4, [-0.081694, -0.163388, 0.333333]),
]


def drawn(seed: int, exits: int) -> Tensor:
    return torch.randn(exits, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("gradients", "c", "expected"), GOLDEN)
def test_golden_values(gradients: list[list[float]], c: float, expected: list[float]) -> None:
    matrix = torch.tensor(gradients, dtype=torch.float64)

    found = cagrad(matrix, CAGradOptions(c=c)) / len(matrix)

    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=2e-5)


def test_values_are_torchjds_on_the_scale_of_the_sum() -> None:
    pytest.importorskip("cvxpy", reason="torchjd's CAGrad needs cvxpy; the golden values hold its results")
    for gradients, c, _ in GOLDEN:
        matrix = torch.tensor(gradients, dtype=torch.float64)

        theirs = len(matrix) * torchjd.aggregation.CAGrad(c, norm_eps=0.0)(matrix)

        torch.testing.assert_close(cagrad(matrix, CAGradOptions(c=c)), theirs, rtol=0, atol=1e-4)


@settings(deadline=None)
@given(SEEDS, st.integers(2, 7))
def test_without_a_ball_it_is_the_sum(seed: int, exits: int) -> None:
    gradients = drawn(seed, exits)

    torch.testing.assert_close(cagrad(gradients, CAGradOptions(c=0)), gradients.sum(0))


@settings(deadline=None)
@given(SEEDS, st.integers(2, 7), RADII)
def test_it_is_the_best_in_the_ball(seed: int, exits: int, c: float) -> None:
    """The worst-off exit gains at most what the dual says, and no rival in the ball does more for it."""
    gradients = drawn(seed, exits)
    mean = gradients.mean(0)
    radius = c * mean.norm()

    d = cagrad(gradients, CAGradOptions(c=c)) / exits

    worst = (gradients @ d).min()
    assert (d - mean).norm() <= radius * (1 + 1e-6)
    generator = torch.Generator().manual_seed(seed)
    simplex = torch.distributions.Dirichlet(torch.full((exits,), 0.5, dtype=torch.float64))
    torch.manual_seed(seed)
    mixtures = simplex.sample((200,)) @ gradients
    dual = mixtures @ mean + radius * mixtures.norm(dim=1)
    assert worst <= dual.min() + 1e-9
    rivals = torch.randn(200, 5, dtype=torch.float64, generator=generator)
    rivals = mean + radius * rivals / rivals.norm(dim=1, keepdim=True)
    assert worst >= (rivals @ gradients.T).min(1).values.max() - 1e-4 * gradients.square().mean()


def test_the_authors_codes_factor_is_an_option() -> None:
    gradients = drawn(0, 3)

    plain, rescaled = (cagrad(gradients, CAGradOptions(c=0.5, rescale=on)) for on in (False, True))

    torch.testing.assert_close(rescaled, plain / 1.25)


@settings(deadline=None)
@given(SEEDS, st.integers(2, 7), st.floats(1e-10, 1e10))
def test_the_gradients_size_does_not_matter_to_the_choice(seed: int, exits: int, size: float) -> None:
    gramian = (drawn(seed, exits) @ drawn(seed, exits).T).numpy()

    np.testing.assert_allclose(
        cagrad_weights(size * gramian, 0.4), cagrad_weights(gramian, 0.4), rtol=0, atol=1e-3
    )


def test_opposite_gradients_leave_nothing_to_do() -> None:
    found = cagrad(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), CAGradOptions())

    assert found.abs().max() < 1e-5


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_gradients_that_say_nothing_pass_through(value: float) -> None:
    weights = cagrad_weights(np.full((3, 3), value), 0.4)

    assert weights.tolist() == pytest.approx([1 / 3] * 3)
