"""MSDNet: a multi-scale dense network with an exit after every block.

Source: Huang et al., "Multi-Scale Dense Networks for Resource Efficient Image Classification", ICLR 2018
(arXiv:1703.09844), in the configuration space of the authors' public CIFAR and ImageNet models. A layer grows
every scale s by `growth·grow_factors[s]` channels, from its own scale and, strided, from the finer one; finer
scales are dropped on the way down ("prune max"), and a 1×1 transition thins the rest where that happens.

Scale 0 is the finest. A layer's scales are kept as a tuple from the finest alive to the coarsest.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from training.models.fields import Factors, Positive
from training.models.layers import EARLY_HEAD, HEAD_CONVOLUTIONS, EarlyHead, conv_bn_relu
from training.models.multi_exit import Features, MultiExitModel, Segment


class MSDNetOptions(BaseModel):
    """The configuration space of MSDNet; the defaults are the poster's MSDNet-7 for CIFAR."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    blocks: Positive = Field(7, description="number of blocks, and so of exits")
    base: Positive = Field(4, description="layers in the first block")
    step: Positive = Field(2, description="layers in each further block")
    step_mode: Literal["even", "linear"] = Field("even", description="linear: block i has step·i + 1 layers")
    channels: Positive = Field(
        16, description="channels of the first layer's finest scale, before its factor"
    )
    growth: Positive = Field(16, description="channels a layer adds, before the scale's factor")
    grow_factors: Factors = Field((1, 2, 4), description="growth factor per scale, finest first")
    bottleneck_factors: Factors = Field((1, 2, 4), description="1×1 bottleneck width per scale")
    bottleneck: bool = Field(True, description="put a 1×1 convolution before every 3×3 one")
    prune: Literal["max", "min"] = Field("max", description="when finer scales are dropped")
    reduction: float = Field(0.5, ge=0, le=1, description="share of channels a transition keeps; 0 = none")
    stem: Literal["cifar", "imagenet"] = Field("cifar", description="3×3 stem, or 7×7 stride 2 with pooling")
    head: EarlyHead = Field("conv", description=EARLY_HEAD)
    head_channels: Positive | None = Field(
        128, description="width of a head; as wide as its input where none"
    )
    image_size: Positive = Field(32, description="height and width in pixels")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(self.grow_factors) != len(self.bottleneck_factors):
            raise ValueError(
                f"expected as many bottleneck_factors as grow_factors ({len(self.grow_factors)}), "
                f"found {len(self.bottleneck_factors)}"
            )
        # A head halves the coarsest scale twice by stride and once by pooling: 8 pixels are the least.
        coarsest = self.image_size // (4 if self.stem == "imagenet" else 1) // 2 ** (self.scales - 1)
        if (coarsest < 8 and self.stem == "cifar") or coarsest < 7:
            raise ValueError(
                f"image_size {self.image_size} leaves {coarsest} pixels at the coarsest of {self.scales} "
                f"scales, and a head needs 8: enlarge the images or use fewer scales"
            )
        if self.layers < self.scales:
            raise ValueError(
                f"{self.layers} layers cannot walk through {self.scales} scales: add blocks or layers"
            )
        return self

    @property
    def scales(self) -> int:
        """The number of scales."""
        return len(self.grow_factors)

    @property
    def steps(self) -> tuple[int, ...]:
        """The number of layers in each block."""
        more = (self.step if self.step_mode == "even" else self.step * i + 1 for i in range(1, self.blocks))
        return (self.base, *more)

    @property
    def layers(self) -> int:
        """The number of layers in all blocks."""
        return sum(self.steps)

    def scales_after(self, layer: int) -> int:
        """Return how many scales are alive after layer `layer` (counted from 1; 0 is the stem)."""
        if self.prune == "min":
            return min(self.scales, self.layers - layer + 1)
        return self.scales - max(0, layer - 1) // math.ceil(self.layers / self.scales)

    def thins_after(self, layer: int) -> bool:
        """Tell whether a transition follows layer `layer`."""
        if not self.reduction:
            return False
        if self.prune == "min":
            return layer in (self.layers // 3, 2 * self.layers // 3)
        return self.scales_after(layer) < self.scales_after(layer - 1)


def msdnet(
    options: MSDNetOptions, classes: int, mean: Sequence[float], std: Sequence[float]
) -> MultiExitModel:
    """Build an MSDNet with one exit per block.

    Args:
        options: the architecture.
        classes: the number of classes.
        mean: channel means of the training images, on the scale 0..1.
        std: channel standard deviations, likewise.
    """
    segments: list[Segment] = []
    layer, width = 0, options.channels
    for depth in options.steps:
        modules: list[nn.Module] = [_Stem(options)] if layer == 0 else []
        for layer in range(layer + 1, layer + depth + 1):  # noqa: B020 - layers count on over blocks
            modules.append(_Layer(options, layer, width))
            width += options.growth
            if options.thins_after(layer):
                thinned = math.floor(options.reduction * width)
                modules.append(_Transition(options, layer, width, thinned))
                width = thinned
        kind: EarlyHead = "conv" if len(segments) == options.blocks - 1 else options.head
        segments.append(Segment(nn.Sequential(*modules), _Head(options, width, classes, kind), read=-1))
    return MultiExitModel(segments, mean, std, options.image_size)


class _Stem(nn.Module):
    """The image [N, 3, H, W] at every scale."""

    def __init__(self, options: MSDNetOptions) -> None:
        super().__init__()
        widths = [options.channels * factor for factor in options.grow_factors]
        if options.stem == "imagenet":
            first: nn.Module = nn.Sequential(
                nn.Conv2d(3, widths[0], 7, 2, 3), nn.BatchNorm2d(widths[0]), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
            )
        else:
            first = conv_bn_relu(3, widths[0], 3)
        coarser = (conv_bn_relu(fine, coarse, 3, 2) for fine, coarse in pairwise(widths))
        self.scales = nn.ModuleList([first, *coarser])

    def forward(self, features: Features) -> Features:
        (x,), scales = features, []
        for scale in self.scales:
            x = scale(x)
            scales.append(x)
        return tuple(scales)


class _Layer(nn.Module):
    """One dense layer on every scale alive: what came in, and what was grown from it, concatenated."""

    def __init__(self, options: MSDNetOptions, layer: int, width: int) -> None:
        super().__init__()
        alive_in, alive_out = options.scales_after(layer - 1), options.scales_after(layer)
        finest = options.scales - alive_out
        self.dropped = alive_in - alive_out
        self.same, self.down = nn.ModuleList(), nn.ModuleList()
        for scale in range(finest, options.scales):
            grown = options.growth * options.grow_factors[scale]
            from_finer = scale > finest or self.dropped > 0
            self.same.append(_grow(options, width, scale, grown // 2 if from_finer else grown, scale))
            # A scale with no finer one grows from itself alone.
            self.down.append(
                _grow(options, width, scale - 1, grown // 2, scale) if from_finer else nn.Identity()
            )

    def forward(self, features: Features) -> Features:
        result = []
        for index, (same, down) in enumerate(zip(self.same, self.down, strict=True)):
            x = features[index + self.dropped]
            if isinstance(down, nn.Identity):
                result.append(torch.cat([x, same(x)], dim=1))
            else:
                finer = features[index + self.dropped - 1]
                result.append(torch.cat([x, down(finer), same(x)], dim=1))
        return tuple(result)


def _grow(options: MSDNetOptions, width: int, source: int, grown: int, target: int) -> nn.Module:
    """Map scale `source` to `grown` channels on scale `target`, through a bottleneck where there is one."""
    inputs = width * options.grow_factors[source]
    stride = 2 if source < target else 1
    if not options.bottleneck:
        return conv_bn_relu(inputs, grown, 3, stride)
    inner = min(inputs, options.bottleneck_factors[source] * grown)
    return nn.Sequential(conv_bn_relu(inputs, inner, 1), conv_bn_relu(inner, grown, 3, stride))


class _Transition(nn.Module):
    """1×1 convolutions that thin every scale alive."""

    def __init__(self, options: MSDNetOptions, layer: int, width: int, thinned: int) -> None:
        super().__init__()
        factors = options.grow_factors[options.scales - options.scales_after(layer) :]
        self.scales = nn.ModuleList(conv_bn_relu(width * f, thinned * f, 1) for f in factors)

    def forward(self, features: Features) -> Features:
        return tuple(thin(x) for thin, x in zip(self.scales, features, strict=True))


class _Head(nn.Module):
    """The classifier of an exit, on the coarsest scale alone: two strided 3×3 convolutions, a linear layer.

    The convolutions are separable, or the mean takes their place, where `kind` says so (not in the source).
    """

    def __init__(self, options: MSDNetOptions, width: int, classes: int, kind: EarlyHead) -> None:
        super().__init__()
        inputs = width * options.grow_factors[-1]
        if kind == "mean":
            self.features: nn.Module = nn.AdaptiveAvgPool2d(1)
            self.classify = nn.Linear(inputs, classes)
            return
        hidden, convolution = options.head_channels or inputs, HEAD_CONVOLUTIONS[kind]
        self.features = nn.Sequential(
            convolution(inputs, hidden, 3, 2), convolution(hidden, hidden, 3, 2), nn.AvgPool2d(2)
        )
        size = options.image_size // (4 if options.stem == "imagenet" else 1) // 2 ** (options.scales - 1)
        pooled = math.ceil(math.ceil(size / 2) / 2) // 2
        self.classify = nn.Linear(hidden * pooled**2, classes)

    def forward(self, features: Features) -> Tensor:
        logits: Tensor = self.classify(self.features(features[-1]).flatten(1))
        return logits
