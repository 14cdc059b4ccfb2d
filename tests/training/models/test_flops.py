from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.ops import Permute

from training.errors import ConfigError
from training.models.flops import FlopsCounter, SegmentFlops, exit_flops, segment_flops
from training.models.multi_exit import Features, MultiExitModel, Segment
from training.models.registry import architecture


class Apply(nn.Module):
    """Applies a module to the only feature map, as a body or as a head."""

    def __init__(self, module: Callable[[Tensor], Tensor], head: bool = False) -> None:
        super().__init__()
        self.module, self.head = module, head

    def forward(self, features: Features) -> Tensor | Features:
        result = self.module(features[0])
        return result if self.head else (result,)


def count(body: Callable[[Tensor], Tensor]) -> int:
    """FLOPs of `body` on one image [1, 3, 8, 8]."""
    head = Apply(lambda x: x.flatten(1), head=True)
    (segment,) = segment_flops(MultiExitModel([Segment(Apply(body), head)], (0.5,) * 3, (0.5,) * 3, 8))
    assert segment.head == 0
    return segment.body


def test_an_exit_costs_every_body_and_every_earlier_head() -> None:
    assert exit_flops([SegmentFlops(10, 1), SegmentFlops(20, 2)]) == [11, 33]


@pytest.mark.parametrize(
    ("name", "body", "flops"),
    [
        ("convolution", nn.Conv2d(3, 4, 3, padding=1, bias=False), 4 * 64 * 27),
        ("its bias is free", nn.Conv2d(3, 4, 3, padding=1, bias=True), 4 * 64 * 27),
        ("groups", nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False), 3 * 64 * 9),
        ("stride", nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False), 4 * 16 * 27),
        ("BatchNorm is free", nn.BatchNorm2d(3), 0),
        ("ReLU", nn.ReLU(), 192),
        ("ReLU in place", nn.ReLU(inplace=True), 192),
        ("GELU", nn.GELU(), 192),
        ("SiLU", nn.SiLU(), 192),
        ("hard-swish", nn.Hardswish(), 192),
        ("average pooling", nn.AvgPool2d(2), 48 * 4),
        ("max pooling", nn.MaxPool2d(3, 2, 1), 48 * 9),
        ("global pooling", nn.AdaptiveAvgPool2d(1), 192),
        ("linear with bias", nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), 5 * 193),
        ("linear without", nn.Sequential(nn.Flatten(), nn.Linear(192, 5, bias=False)), 5 * 192),
        ("LayerNorm is free", nn.LayerNorm(8), 0),
        ("a residual is free", lambda x: x + x, 0),
        ("a gate is not", lambda x: x * x, 192),
        ("a scale is", lambda x: x * 2.0, 0),
        ("a learned scale too", lambda x: x * torch.tensor(2.0, device=x.device), 0),
        ("a scale for each channel is not", nn.Softmax2d(), 192),
        ("lengths and quotients", lambda x: nn.functional.normalize(x, dim=1), 192 + 192),
        ("powers", lambda x: x.pow(2).sqrt(), 192 + 192),
        ("a leaky activation", lambda x: nn.functional.leaky_relu(-x), 192),
        ("sums and maxima over places", lambda x: x.sum((2, 3)) - x.amax((2, 3)), 192 + 192),
        ("a product that is added", lambda x: torch.addcmul(x, x, x), 192),
        ("the nearest place", lambda x: nn.functional.interpolate(x, scale_factor=2), 0),
        (
            "two places along two sides",
            lambda x: nn.functional.interpolate(x, size=(4, 4), mode="bilinear"),
            3 * 16 * 4,
        ),
        ("what weights alone decide", lambda x: x + torch.ones(3, 8, 8, device=x.device).exp(), 0),
        ("linear over strided tokens", nn.Sequential(Permute((0, 2, 3, 1)), nn.Linear(3, 5)), 64 * 5 * 4),
        (
            "attention over 8 tokens of width 8, one head",
            lambda x: nn.functional.scaled_dot_product_attention(x, x, x),
            3 * (8 * 8 * (8 + 8) + 8 * 8),
        ),
    ],
)
def test_rules(name: str, body: Callable[[Tensor], Tensor], flops: int) -> None:
    assert count(body) == flops


def test_unknown_operators_are_an_error_not_a_zero_and_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"no FLOPs rule for the operators erfinv \(2\), lgamma \(1\)"):
        count(lambda x: torch.lgamma(x.erfinv()).erfinv())


def test_counting_leaves_the_model_as_it_was() -> None:
    norm = nn.BatchNorm2d(3)
    before = {name: value.clone() for name, value in norm.state_dict().items()}

    count(norm)

    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    assert norm.training


def test_attention_counts_the_same_where_torch_would_fuse_it() -> None:
    attention = nn.MultiheadAttention(embed_dim=8, num_heads=2, batch_first=True).eval()

    def body(x: Tensor) -> Tensor:
        tokens = x.flatten(1, 2)  # [1, 24, 8]
        result: Tensor = attention(tokens, tokens, tokens, need_weights=False)[0]
        return result

    projections = 24 * (3 * 8 + 8) * 9
    assert count(body) == projections + 2 * 24 * 24 * (4 + 4 + 1)
    assert torch.backends.mha.get_fastpath_enabled(), "left as it was"


def test_an_error_leaves_the_model_as_it_was() -> None:
    model = MultiExitModel([Segment(Apply(torch.erfinv), Apply(torch.erfinv))], (0.5,) * 3, (0.5,) * 3, 8)

    with pytest.raises(ConfigError):
        segment_flops(model)

    assert model.training
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize(
    ("name", "layers", "gflops"),
    [
        # Multiply-adds of convolutions, linear layers and attention that torchvision publishes.
        ("resnet18", "layer1", 1.814),
        ("resnet50", "layer2", 4.089),
        ("mobilenet_v3_small", "features.4", 0.057),
        ("vit_b_16", "encoder.layers.encoder_layer_5", 17.564),
    ],
)
def test_multiply_adds_of_known_networks(name: str, layers: str, gflops: float) -> None:
    with torch.device("meta"):
        model = architecture(f"torchvision:{name}", {"exits": layers}).model(1000).eval()
    images = torch.zeros(1, 224, 224, 3, dtype=torch.uint8, device="meta")
    with torch.no_grad(), FlopsCounter() as counter:
        model(images, [1])

    counted = sum(counter.by_operator[operator] for operator in ("convolution", "addmm", "mm", "bmm"))

    assert torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].meta["_ops"] == gflops
    assert counted / 1e9 == pytest.approx(gflops, rel=0.01)
