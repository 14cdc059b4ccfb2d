import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.methods.fusion import NORMALISATIONS, eta_gradient, fuse

KINDS = st.sampled_from(sorted(NORMALISATIONS))


@pytest.mark.parametrize("kind", sorted(NORMALISATIONS))
def test_equal_importances_give_the_mean_move(kind: str) -> None:
    moves = torch.tensor([[1.0, 2.0, 3.0, 4.0], [3.0, 2.0, 1.0, 0.0]])

    weights = NORMALISATIONS[kind].weights(torch.zeros(2, 1))

    assert torch.equal(fuse(moves, weights), torch.full((4,), 2.0))


def test_weights_by_hand() -> None:
    eta = torch.tensor([[1.0], [0.0]]).log()  # f = e^η: 1 and 0

    assert NORMALISATIONS["softmax"].weights(eta).flatten().tolist() == [1.0, 0.0]
    # σ(0) = ½ and σ(log 3) = ¾ share as 2 : 3.
    eta = torch.tensor([[0.0], [3.0]], dtype=torch.float64)
    eta[1] = eta[1].log()
    assert NORMALISATIONS["sigmoid"].weights(eta).flatten().tolist() == pytest.approx([0.4, 0.6])


def test_a_channel_follows_its_own_weight() -> None:
    moves = torch.tensor([[1.0, 1.0, 1.0, 1.0], [5.0, 5.0, 5.0, 5.0]])
    weights = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # two channels of two elements

    assert fuse(moves, weights).tolist() == [1.0, 1.0, 5.0, 5.0]


def test_eta_gradient_by_hand() -> None:
    moves, weights = torch.tensor([[1.0], [3.0]]), torch.full((2, 1), 0.5)

    softmax = eta_gradient(torch.tensor([2.0]), moves, weights, torch.ones(2, 1))
    sigmoid = eta_gradient(torch.tensor([2.0]), moves, weights, torch.full((2, 1), 0.5))

    # W = π1·g1 + π2·g2 with π = ½: ∂L/∂η1 = ½·⟨G, g1 − (g1 + g2)/2⟩ = ½·(2·(1 − 2)) = −1
    assert softmax.tolist() == [[-1.0], [1.0]]
    # The same times 1 − σ(0) = ½.
    assert sigmoid.tolist() == [[-0.5], [0.5]]


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 7), st.sampled_from([1, 3, 12]), KINDS)
def test_the_closed_form_is_what_autograd_finds(seed: int, m: int, groups: int, kind: str) -> None:
    torch.manual_seed(seed)
    normalisation = NORMALISATIONS[kind]
    eta = torch.randn(m, groups, dtype=torch.float64, requires_grad=True)
    moves = torch.randn(m, 12, dtype=torch.float64)
    target = torch.randn(12, dtype=torch.float64)

    fused = fuse(moves, normalisation.weights(eta))
    (expected,) = torch.autograd.grad(((fused - target) ** 2).sum(), eta)
    settled, gradient = eta.detach(), 2 * (fused - target).detach()
    found = eta_gradient(gradient, moves, normalisation.weights(settled), normalisation.slope(settled))

    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 7), st.floats(0.1, 1000), KINDS)
def test_weights_sum_to_one_over_the_exits(seed: int, m: int, spread: float, kind: str) -> None:
    torch.manual_seed(seed)

    weights = NORMALISATIONS[kind].weights(spread * torch.randn(m, 4, dtype=torch.float64))

    torch.testing.assert_close(weights.sum(0), torch.ones(4, dtype=torch.float64))
    assert (weights >= 0).all()
