"""η's gradient is that of a virtual step, and weights of equal exits stay equal."""

import pytest
import torch

from tests.training.fakes import Quadratics
from training.methods.online_fusion import OnlineFusion, OnlineFusionOptions, eta_descent, fused

SIZES = [2, 3]
MASK = torch.tensor([[0.0, -torch.inf], [0.0, 0.0], [0.0, 0.0]], dtype=torch.float64)


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_the_gradient_is_that_of_the_loss_after_a_step() -> None:
    start, gradients, target, lr = drawn(0, 5), drawn(1, 3, 5), drawn(2, 5), 0.1
    gradients[0, 2:] = 0  # the first exit does not reach the second tensor
    eta = drawn(3, 3, 2).requires_grad_()

    after = start - lr * fused(gradients, torch.softmax(eta + MASK, 0), SIZES)
    loss = ((after - target) ** 4).sum()
    (expected,) = torch.autograd.grad(loss, eta)

    slope = (4 * (after - target) ** 3).detach()
    found = lr * eta_descent(slope, gradients, torch.softmax(eta + MASK, 0).detach(), SIZES)
    torch.testing.assert_close(found, expected)


def problem(steps: int) -> Quadratics:
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.5], [-4.0, 0.0]], dtype=torch.float64)
    return Quadratics(targets, lr=0.02, steps=steps)


def test_the_first_step_is_joint_trainings() -> None:
    posed = problem(1)

    OnlineFusion(posed, OnlineFusionOptions()).epoch()

    torch.testing.assert_close(posed.parameters[0].detach(), 0.02 * posed.targets.sum(0))


def test_weights_move_towards_what_lowers_the_joint_loss() -> None:
    posed = problem(30)
    method = OnlineFusion(posed, OnlineFusionOptions(eta_lr=0.05))

    method.epoch()

    weights = method.weights()
    torch.testing.assert_close(weights.sum(0), torch.ones(2, dtype=torch.float64))
    assert weights[0, 1] == 0
    assert method.facts()["fusion_deviation"] > 0.01


def test_exits_that_agree_keep_equal_weights() -> None:
    posed = Quadratics(torch.ones(3, 2, dtype=torch.float64), lr=0.02, steps=5).agree()
    method = OnlineFusion(posed, OnlineFusionOptions())

    method.epoch()

    torch.testing.assert_close(method.weights()[:, 0], torch.full((3,), 1 / 3, dtype=torch.float64))


def test_what_goes_on_from_a_state_ends_alike() -> None:
    posed, broken = problem(4), problem(4)
    whole, begun = (OnlineFusion(p, OnlineFusionOptions()) for p in (posed, broken))
    for method in (whole, whole, begun):
        method.epoch()
    later = OnlineFusion(broken, OnlineFusionOptions())
    later.load_state_dict(begun.state_dict())

    later.epoch()

    for found, expected in zip(broken.parameters, posed.parameters, strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("exits", [1, 2])
def test_few_exits(exits: int) -> None:
    posed = Quadratics(torch.ones(exits, 2), steps=2)

    OnlineFusion(posed, OnlineFusionOptions()).epoch()

    assert all(parameter.isfinite().all() for parameter in posed.parameters)
