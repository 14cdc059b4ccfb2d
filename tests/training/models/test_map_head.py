"""Cheaper heads of early exits cost what arithmetic says, and leave the last exit as it is."""

from typing import Any

import pytest
import torch

from tests.training.models.counts import mflops, on_meta
from training.errors import ConfigError
from training.models.flops import segment_flops
from training.models.reach import reach
from training.models.registry import architecture

LADDER = {"fine_channels": 4, "coarse_channels": 8, "head_channels": 8}
MSDNET = {"blocks": 3, "base": 2, "step": 1, "channels": 4, "growth": 4, "head_channels": 32}
RESNET9 = {"channels": (4, 8, 8, 8), "head_channels": 8}
SMALL: list[tuple[str, dict[str, Any]]] = [("ladder", LADDER), ("msdnet", MSDNET), ("resnet9", RESNET9)]
CLASSES = 10


def heads(name: str, **options: object) -> list[int]:
    return [segment.head for segment in segment_flops(on_meta(name, CLASSES, **options))]


def convolution(inputs: int, outputs: int, places: int) -> int:
    """Of 3×3, with ReLU."""
    return places * outputs * (9 * inputs + 1)


def separable(inputs: int, outputs: int, places: int) -> int:
    return places * (inputs * (9 + 1) + outputs * (inputs + 1))


def linear(inputs: int) -> int:
    return CLASSES * (inputs + 1)


def test_the_heads_of_a_ladder() -> None:
    pooled = 4 * 4 * 128  # every element of the map is read once
    conv = convolution(112, 128, 16) + pooled + linear(128)
    assert heads("ladder") == [conv] * 4
    assert heads("ladder", head="separable") == [separable(112, 128, 16) + pooled + linear(128)] * 3 + [conv]
    assert heads("ladder", head="mean") == [8 * 8 * 112 + linear(112)] * 3 + [conv]


def test_the_heads_of_a_resnet9() -> None:
    conv, apart, mean = (heads("resnet9", head=kind) for kind in ("conv", "separable", "mean"))
    assert conv == heads("resnet9")
    pooled = 128  # per place of the strided map, which is read once
    places = [8 * 8, 4 * 4, 4 * 4]
    inputs = [64, 256, 256]
    shapes = list(zip(inputs, places, strict=True))
    assert conv[:-1] == [convolution(i, 128, p) + p * pooled + linear(128) for i, p in shapes]
    assert apart[:-1] == [separable(i, 128, p) + p * pooled + linear(128) for i, p in shapes]
    sides = 15, 7, 7  # the stem's 2×2 convolution has no padding
    assert mean[:-1] == [s * s * i + linear(i) for i, s in zip(inputs, sides, strict=True)]
    assert conv[-1] == apart[-1] == mean[-1]


def test_the_heads_of_an_msdnet() -> None:
    widths = [320, 448, 320, 448, 576, 384]  # those of the original (test_msdnet)
    pooled = 2 * 2 * 128  # 2×2 places, one remains
    conv = [convolution(w, 128, 16) + convolution(128, 128, 4) + pooled + linear(128) for w in (*widths, 512)]
    apart = [separable(w, 128, 16) + separable(128, 128, 4) + pooled + linear(128) for w in widths]
    assert heads("msdnet") == conv
    assert heads("msdnet", head="separable") == [*apart, conv[-1]]
    assert heads("msdnet", head="mean") == [*(64 * w + linear(w) for w in widths), conv[-1]]


@pytest.mark.parametrize(("name", "options"), SMALL)
def test_a_head_is_a_convolution_where_nothing_is_said(name: str, options: dict[str, object]) -> None:
    torch.manual_seed(0)
    plain = architecture(name, options).model(3).state_dict()
    torch.manual_seed(0)
    said = architecture(name, {**options, "head": "conv"}).model(3).state_dict()
    assert plain.keys() == said.keys()
    assert all(torch.equal(plain[key], said[key]) for key in plain)


def test_weights_of_before_fit_in() -> None:
    ladder, msdnet, resnet9 = (architecture(name, options).model(3).state_dict() for name, options in SMALL)
    for named, keys in (
        (ladder, ("features.0.weight", "features.1.bias", "classify.weight")),
        (msdnet, ("features.0.0.weight", "features.1.1.bias", "classify.weight")),
        (resnet9, ("features.0.weight", "features.1.bias", "classify.weight")),
    ):
        assert all(f"segments.1.head.{key}" in named for key in keys)


@pytest.mark.parametrize(("name", "options"), SMALL)
@pytest.mark.parametrize("head", ["separable", "mean"])
def test_cheaper_heads_leave_the_last_exit_and_serve_their_own_alone(
    name: str, options: dict[str, object], head: str
) -> None:
    model = architecture(name, {**options, "head": head}).model(3)
    plain = architecture(name, options).model(3)
    last = model.exits - 1
    assert model.segment(last).state_dict().keys() == plain.segment(last).state_dict().keys()
    assert mflops(model)[0] < mflops(plain)[0]
    used = reach(model)
    for number, (key, _) in enumerate(model.named_parameters()):
        _, segment, part, *_ = key.split(".")
        if part == "head":
            assert used[:, number].tolist() == [index == int(segment) for index in range(model.exits)]


def test_another_kind_of_head_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"head: .*'conv', 'separable' or 'mean'"):
        architecture("ladder", {"head": "attention"})
