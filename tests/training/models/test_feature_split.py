import torch
from torch import Tensor, nn

from training.models.feature_split import half_detached
from training.models.multi_exit import Features, MultiExitModel, Segment
from training.models.reach import reach
from training.models.registry import architecture


class Halves(nn.Module):
    """Five channels from two convolutions; those of `second` are all in the detached part."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(inputs, 2, 1), nn.Conv2d(inputs, 3, 1)

    def forward(self, features: Features) -> Features:
        (x,) = features
        return (torch.cat([self.first(x), self.second(x)], 1),)


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.classify = nn.Linear(5, 4)

    def forward(self, features: Features) -> Tensor:
        logits: Tensor = self.classify(features[0].mean((2, 3)))
        return logits


def halves(split: bool) -> MultiExitModel:
    torch.manual_seed(0)
    segments = [Segment(Halves(inputs), Head()) for inputs in (3, 5, 5)]
    model = MultiExitModel(segments, (0.5,) * 3, (0.25,) * 3, image_size=4)
    model.feature_split = split
    return model


def reached_by(model: MultiExitModel, exit_index: int) -> set[str]:
    names = [name.removeprefix("segments.") for name, _ in model.named_parameters()]
    return {name for name, used in zip(names, reach(model)[exit_index].tolist(), strict=True) if used}


def test_values_pass_and_gradients_of_the_second_half_do_not() -> None:
    fine, x = torch.ones(1, 2, 2, 2, requires_grad=True), torch.ones(1, 5, 2, 2, requires_grad=True)

    passed = half_detached((fine, x), read=-1)
    (3 * passed[0].sum() + passed[1].sum()).backward()  # type: ignore[no-untyped-call]

    assert all(torch.equal(a, b) for a, b in zip(passed, (fine, x), strict=True))
    assert x.grad is not None
    assert x.grad[0, :, 0, 0].tolist() == [1, 1, 0, 0, 0]
    assert fine.grad is not None
    assert bool((fine.grad == 3).all())


def test_tokens_are_split_in_their_channels() -> None:
    tokens = torch.ones(2, 7, 4, requires_grad=True)

    half_detached((tokens,), read=0)[0].sum().backward()  # type: ignore[no-untyped-call]

    assert tokens.grad is not None
    assert tokens.grad[0, 0].tolist() == [1, 1, 0, 0]


def test_later_exits_reach_what_feeds_the_first_half_only() -> None:
    whole, split = halves(split=False), halves(split=True)

    lost = reached_by(whole, 2) - reached_by(split, 2)

    assert lost == {f"{segment}.body.second.{kind}" for segment in (0, 1) for kind in ("weight", "bias")}
    assert reached_by(split, 0) == reached_by(whole, 0)
    assert split.training


def test_reach_says_which_gradients_training_gives() -> None:
    model = halves(split=True)
    used = reach(model)
    images = torch.randint(256, (2, 4, 4, 3), dtype=torch.uint8)

    for logits, row in zip(model(images), used, strict=True):
        gradients = torch.autograd.grad(
            logits.square().sum(), list(model.parameters()), allow_unused=True, retain_graph=True
        )
        assert [g is not None and bool(g.count_nonzero()) for g in gradients] == row.tolist()


def test_evaluation_knows_nothing_of_it() -> None:
    model = halves(split=True).eval()

    last = model(torch.zeros(1, 4, 4, 3, dtype=torch.uint8))[2].sum()

    (gradient,) = torch.autograd.grad(last, [model.get_parameter("segments.0.body.second.weight")])
    assert gradient.count_nonzero()


def test_no_parameter_of_msdnet_is_left_untrained() -> None:
    model = architecture("msdnet-tiny").model(4)
    whole = reach(model)
    model.feature_split = True

    split = reach(model)

    # Finer scales, which no head of the same segment reads, are passed on whole.
    assert torch.equal(split.any(0), whole.any(0))
    assert bool((split <= whole).all())
    assert int(split.sum()) < int(whole.sum())
    assert torch.equal(split[0], whole[0])
