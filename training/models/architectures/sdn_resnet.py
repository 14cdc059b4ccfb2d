"""A CIFAR ResNet (6n + 2 layers) as a Shallow-Deep Network: internal classifiers between its blocks.

Sources: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2, with 1×1
convolutions where the shape changes (their option B); Kaya et al., "Shallow-Deep Networks", ICML 2019, for
where the exits are.
"""

from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from training.models.architectures.sdn_head import InternalClassifier
from training.models.fields import Places, Positive
from training.models.layers import conv_bn_relu
from training.models.map_body import MapBody
from training.models.multi_exit import Features, MultiExitModel, Segment

STAGES = 3


class SDNResNetOptions(BaseModel):
    """The configuration space of the ResNet SDN; the defaults are ResNet-56 with its exits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    blocks: Positive = Field(9, description="residual blocks in each of the three stages: 9 make ResNet-56")
    exits: Places = Field(
        (4, 8, 12, 16, 20, 24),
        description="blocks that an early exit follows; the last block's is the tail's",
    )
    channels: Positive = Field(
        16, description="channels of the first stage; each further one has twice as many"
    )
    image_size: int = Field(32, ge=8, description="height and width in pixels")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        last = STAGES * self.blocks - 1
        if self.exits[-1] > last:
            raise ValueError(
                f"expected early exits after blocks 1..{last} of {last + 1}, found {self.exits[-1]}: "
                "the original classifier follows the last block"
            )
        return self


def sdn_resnet(
    options: SDNResNetOptions, classes: int, mean: Sequence[float], std: Sequence[float]
) -> MultiExitModel:
    """Build a ResNet SDN.

    Args:
        options: the architecture.
        classes: the number of classes.
        mean: channel means of the training images, on the scale 0..1.
        std: channel standard deviations, likewise.
    """
    segments: list[Segment] = []
    channels, size = options.channels, options.image_size
    layers: list[nn.Module] = [conv_bn_relu(3, channels, 3)]
    for block in range(STAGES * options.blocks):
        stage, place = divmod(block, options.blocks)
        inputs, channels = channels, options.channels * 2**stage
        stride = 2 if stage and not place else 1
        size = -(-size // stride)
        layers.append(_Block(inputs, channels, stride))
        if block + 1 in options.exits:
            segments.append(Segment(MapBody(layers), InternalClassifier(channels, size, classes)))
            layers = []
    segments.append(Segment(MapBody(layers), _Tail(channels, size, classes)))
    return MultiExitModel(segments, mean, std, options.image_size)


class _Block(nn.Module):
    """Two 3×3 convolutions around a shortcut, which is a 1×1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            conv_bn_relu(inputs, outputs, 3, stride),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride > 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.relu(self.residual(x) + self.shortcut(x))
        return result


class _Tail(nn.Module):
    """The original classifier: the mean over the whole map, and one linear layer."""

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(size)
        self.classify = nn.Linear(channels, classes)

    def forward(self, features: Features) -> Tensor:
        logits: Tensor = self.classify(self.pool(features[0]).flatten(1))
        return logits
