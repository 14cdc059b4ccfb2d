from collections.abc import Sequence

import torch
from torch import Tensor

from tests.training.fakes import Quadratics
from training.methods.gradient_equilibrium import GradientEquilibrium, GradientEquilibriumOptions
from training.methods.interface import Phase
from training.models.multi_exit import MultiExitModel
from training.models.reach import reach
from training.models.registry import architecture

TARGETS = torch.tensor([[1.0, 0.0], [0.0, 3.0], [2.0, 3.0]], dtype=torch.float64)


def test_gradients_by_hand() -> None:
    problem = Quadratics(TARGETS)

    GradientEquilibrium(problem, GradientEquilibriumOptions()).epoch()

    shared, first, *_, deeper = (p.grad for p in problem.parameters)
    assert shared is not None
    assert first is not None
    assert deeper is not None
    torch.testing.assert_close(shared, -TARGETS.mean(0))
    torch.testing.assert_close(first, -TARGETS[0])
    torch.testing.assert_close(deeper, -TARGETS[1:].mean(0))  # over the two exits behind it


class Rescale(torch.autograd.Function):
    """Passes features on, and their gradient back times a factor."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, features: Tensor, factor: float) -> Tensor:
        ctx.factor = factor  # type: ignore[attr-defined]
        return features.view_as(features)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None  # type: ignore[attr-defined]


class OneBatch(Quadratics):
    """A real model on one batch, as a problem."""

    def __init__(self, model: MultiExitModel) -> None:
        super().__init__(torch.zeros(1, 1), lr=0.0)
        self.model, self.parameters, self.reach = model, list(model.parameters()), reach(model)

    def losses(self, batch: object, exits: Sequence[int], weighted: bool = True) -> list[Tensor]:
        return [exit_losses(logits) for logits in self.model(IMAGES, exits)]


IMAGES = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def exit_losses(logits: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3]))


def tiny() -> MultiExitModel:
    torch.manual_seed(0)
    return architecture("msdnet-tiny").model(4).double()


def test_a_trunk_gradient_is_the_mean_over_the_exits_that_reach_it() -> None:
    problem = OneBatch(tiny())
    (batch,) = problem.batches(Phase("probe"))

    GradientEquilibrium(problem, GradientEquilibriumOptions()).epoch()

    losses = problem.losses(batch, range(3))
    per_exit = [
        torch.autograd.grad(loss, problem.parameters, allow_unused=True, retain_graph=True) for loss in losses
    ]
    for parameter, gradients in zip(problem.parameters, zip(*per_exit, strict=True), strict=True):
        used = [gradient for gradient in gradients if gradient is not None]
        assert (parameter.grad is None) == (not used)
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, torch.stack(used).mean(0))


def test_it_is_what_rescaling_every_feature_gives() -> None:
    """The definition, layer by layer; only where a tensor skips its own exit do the divisors differ."""
    model, exits = tiny(), 3
    features, losses = model.normalise(IMAGES), []
    for k in range(exits):
        features = model.segment(k).body(features)
        features = tuple(Rescale.apply(f, 1 / (exits - k)) for f in features)
        losses.append(exit_losses(model.segment(k).head(features)))
        features = tuple(Rescale.apply(f, float(exits - k - 1)) for f in features)
    torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
    problem = OneBatch(tiny())

    GradientEquilibrium(problem, GradientEquilibriumOptions()).epoch()

    compared = skipping = 0
    for (name, layered), ours, sharers in zip(
        model.named_parameters(), problem.parameters, problem.reach.sum(0).tolist(), strict=True
    ):
        _, segment, part, *_ = name.split(".")
        behind = exits - int(segment) if part == "body" else 1
        if layered.grad is not None and ours.grad is not None:
            torch.testing.assert_close(ours.grad * sharers / behind, layered.grad)
            compared, skipping = compared + 1, skipping + int(sharers != behind)
    assert 0 < skipping < compared / 2
