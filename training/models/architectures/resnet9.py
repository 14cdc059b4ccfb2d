"""ResNet-9 with exits: wide 3×3 convolutions and pooling, for the best accuracy of a short training.

A segment that pools starts with a convolution to its channels and a maximum over 2×2; then come layers with a
shortcut around one 3×3 convolution each. Nearly all the work is in convolutions of 64 to 256 channels, which
a CPU and int8 like.

Sources: ResNet-9 is D. Page's (DAWNBench, "How to train your ResNet", 2019). Widths and stem are those of
airbench (Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv:2404.00498): a 2×2 convolution
that `--whiten` turns into a frozen whitening, and 64, 256 and 256 channels.

Deviations from both: exits, whose early ones have a convolution of their own, so that the trunk need not lay
its features out for a linear layer; BatchNorm and ReLU come before the maximum, so that they fold into the
convolution when exported; ReLU in place of GELU, for which int8 has no kernel; a shortcut around every layer
that keeps its shape.
"""

from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from training.models.fields import Counts, Factors, Positive
from training.models.layers import EARLY_HEAD, EarlyHead, ShortcutLayer, conv_bn_relu
from training.models.map_body import MapBody
from training.models.map_head import MapHead
from training.models.multi_exit import Features, MultiExitModel, Segment


class ResNet9Options(BaseModel):
    """The configuration space of a ResNet-9 with exits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: Factors = Field((64, 256, 256, 256), description="channels of each segment")
    pools: Counts = Field((1, 1, 0, 1), description="1 where a segment starts by halving the side, else 0")
    layers: Counts = Field((1, 0, 1, 1), description="3×3 layers of each segment after that")
    stem_channels: Positive = Field(
        24, description="outputs of the 2×2 convolution; 24 hold a whitening whole"
    )
    head: EarlyHead = Field("conv", description=EARLY_HEAD)
    head_channels: Positive = Field(128, description="width of the convolution of every head but the last")
    image_size: int = Field(32, ge=16, description="height and width in pixels")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        lengths = len(self.channels), len(self.pools), len(self.layers)
        if len(set(lengths)) > 1:
            raise ValueError(
                "expected as many segments in channels, pools and layers, found {}, {} and {}".format(
                    *lengths
                )
            )
        if not self.pools[0]:
            raise ValueError("expected the first segment to pool: nothing else sets its channels")
        for index, (pools, layers) in enumerate(zip(self.pools, self.layers, strict=True)):
            if pools > 1:
                raise ValueError(f"expected 0 or 1 in pools, found {pools}")
            if not pools and not layers:
                raise ValueError(f"expected segment {index + 1} to pool or to have layers, found neither")
            if not pools and self.channels[index] != self.channels[index - 1]:
                raise ValueError(
                    f"expected segment {index + 1}, which does not pool, to keep its "
                    f"{self.channels[index - 1]} channels, found {self.channels[index]}"
                )
        smallest = (self.image_size - 1) >> sum(self.pools)
        if smallest < 1:
            raise ValueError(
                f"expected pixels to be left of an image of {self.image_size} after {sum(self.pools)} pools"
            )
        return self


def resnet9(
    options: ResNet9Options, classes: int, mean: Sequence[float], std: Sequence[float]
) -> MultiExitModel:
    """Build a ResNet-9 with one exit per segment.

    Args:
        options: the architecture.
        classes: the number of classes.
        mean: channel means of the training images, on the scale 0..1.
        std: channel standard deviations, likewise.
    """
    segments = []
    inputs, last = options.stem_channels, len(options.channels) - 1
    for index, (channels, pools, layers) in enumerate(
        zip(options.channels, options.pools, options.layers, strict=True)
    ):
        parts: list[nn.Module] = []
        if index == 0:
            parts += [nn.Conv2d(3, options.stem_channels, 2), nn.ReLU(inplace=True)]
        if pools:
            parts += [conv_bn_relu(inputs, channels, 3), nn.MaxPool2d(2)]
        parts += [ShortcutLayer(channels) for _ in range(layers)]
        head: nn.Module = _LastHead(channels, classes)
        if index < last:
            head = MapHead(channels, options.head_channels, classes, options.head)
        segments.append(Segment(MapBody(parts), head, read=-1))
        inputs = channels
    return MultiExitModel(segments, mean, std, options.image_size)


class _LastHead(nn.Module):
    """The last exit's classifier: the maximum of each channel, and a linear layer."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.classify = nn.Linear(channels, classes)

    def forward(self, features: Features) -> Tensor:
        logits: Tensor = self.classify(self.pool(features[-1]).flatten(1))
        return logits
