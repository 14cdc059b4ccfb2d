import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.methods.fusion import eta_gradient, fuse, fusion_weights


def test_equal_importances_give_the_mean_move() -> None:
    moves = torch.tensor([[1.0, 2.0, 3.0, 4.0], [3.0, 2.0, 1.0, 0.0]])

    assert torch.equal(fuse(moves, fusion_weights(torch.zeros(2, 1))), torch.full((4,), 2.0))


def test_a_channel_follows_its_own_weight() -> None:
    moves = torch.tensor([[1.0, 1.0, 1.0, 1.0], [5.0, 5.0, 5.0, 5.0]])
    weights = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # two channels of two elements

    assert fuse(moves, weights).tolist() == [1.0, 1.0, 5.0, 5.0]


def test_eta_gradient_by_hand() -> None:
    # W = π1·g1 + π2·g2 with π = ½: ∂L/∂η1 = ½·⟨G, g1 − (g1 + g2)/2⟩ = ½·(2·(1 − 2)) = −1
    moves, weights = torch.tensor([[1.0], [3.0]]), torch.full((2, 1), 0.5)

    assert eta_gradient(torch.tensor([2.0]), moves, weights).tolist() == [[-1.0], [1.0]]


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 7), st.sampled_from([1, 3, 12]))
def test_the_closed_form_is_what_autograd_finds(seed: int, m: int, groups: int) -> None:
    torch.manual_seed(seed)
    eta = torch.randn(m, groups, dtype=torch.float64, requires_grad=True)
    moves = torch.randn(m, 12, dtype=torch.float64)
    target = torch.randn(12, dtype=torch.float64)

    fused = fuse(moves, fusion_weights(eta))
    (expected,) = torch.autograd.grad(((fused - target) ** 2).sum(), eta)
    found = eta_gradient(2 * (fused - target).detach(), moves, fusion_weights(eta.detach()))

    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 7))
def test_weights_sum_to_one_over_the_exits(seed: int, m: int) -> None:
    torch.manual_seed(seed)

    weights = fusion_weights(10 * torch.randn(m, 4, dtype=torch.float64))

    torch.testing.assert_close(weights.sum(0), torch.ones(4, dtype=torch.float64))
    assert (weights >= 0).all()
