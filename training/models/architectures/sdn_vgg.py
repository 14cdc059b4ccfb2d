"""VGG-16 with BatchNorm as a Shallow-Deep Network: internal classifiers between its convolutions.

Sources: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR
2015, in its CIFAR form; Kaya et al., "Shallow-Deep Networks", ICML 2019, for where the exits are.
"""

from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from training.models.architectures.sdn_head import InternalClassifier
from training.models.fields import Places, Positive
from training.models.map_body import MapBody
from training.models.multi_exit import Features, MultiExitModel, Segment

FACTORS = (1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 8, 8, 8)
"""Channels of each convolution, in multiples of the first one's."""

POOLED_AFTER = frozenset({2, 4, 7, 10, 13})
"""Convolutions, counted from 1, that a 2×2 max pooling follows."""


class SDNVGGOptions(BaseModel):
    """The configuration space of VGG-16 SDN; the defaults are the poster's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exits: Places = Field(
        (2, 4, 6, 7, 9, 10),
        description="convolutions (1..12) that an early exit follows; the tail is the last",
    )
    channels: Positive = Field(64, description="channels of the first convolution")
    image_size: Positive = Field(32, description="height and width in pixels")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.exits[-1] >= len(FACTORS):
            raise ValueError(
                f"expected early exits after convolutions 1..{len(FACTORS) - 1}, found {self.exits[-1]}: "
                "the original classifier follows the last convolution"
            )
        if self.image_size < 2 ** len(POOLED_AFTER):
            raise ValueError(
                f"image_size {self.image_size} vanishes in {len(POOLED_AFTER)} poolings: expected at least "
                f"{2 ** len(POOLED_AFTER)} pixels"
            )
        return self


def sdn_vgg(
    options: SDNVGGOptions, classes: int, mean: Sequence[float], std: Sequence[float]
) -> MultiExitModel:
    """Build a VGG-16 SDN.

    Args:
        options: the architecture.
        classes: the number of classes.
        mean: channel means of the training images, on the scale 0..1.
        std: channel standard deviations, likewise.
    """
    segments, body = [], nn.Sequential()
    inputs, size = 3, options.image_size
    for number, factor in enumerate(FACTORS, start=1):
        outputs = factor * options.channels
        body.extend(
            [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        )
        inputs = outputs
        if number in POOLED_AFTER:
            body.append(nn.MaxPool2d(2))
            size //= 2
        if number in options.exits:
            segments.append(Segment(MapBody(body), InternalClassifier(outputs, size, classes)))
            body = nn.Sequential()
    segments.append(Segment(MapBody(body), _Tail(inputs, size, classes)))
    return MultiExitModel(segments, mean, std, options.image_size)


class _Tail(nn.Module):
    """The original classifier: two hidden layers, of which only the first has a ReLU."""

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * size**2, channels),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(channels, channels),
            nn.Dropout(0.5),
            nn.Linear(channels, classes),
        )

    def forward(self, features: Features) -> Tensor:
        logits: Tensor = self.layers(features[0])
        return logits
