"""Ladder: two scales of wide 3×3 convolutions, for CPUs, which like few wide layers better than many narrow.

A fine map (half the image's side, 64 channels) and a coarse one (a quarter, 112 channels) run side by side.
A segment has fine layers, a rung that adds the fine map, strided, to the coarse one, and coarse layers. An
exit reads the coarse map. Early exits leave the fine side short, and later ones still sharpen it.

Sources: the scales and the classifiers at the coarsest are the idea of MSDNet (Huang et al., ICLR 2018).
Sums as in ResNet (He et al., CVPR 2016) take the place of its concatenations: they neither widen the next
layer nor move memory about in int8. The stem is that of airbench (Jordan, "94% on CIFAR-10 in 3.29 Seconds on
a Single GPU", arXiv:2404.00498): a 2×2 convolution that `--whiten` turns into a frozen whitening.

Each layer is one 3×3 convolution with a shortcut around it: x → ReLU(x + BN(conv(x))).
"""

from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from training.models.fields import Counts, Positive
from training.models.layers import EARLY_HEAD, EarlyHead, ShortcutLayer, conv_bn_relu
from training.models.map_body import MapBody
from training.models.map_head import MapHead
from training.models.multi_exit import Features, MultiExitModel, Segment


class LadderOptions(BaseModel):
    """The configuration space of a ladder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fine: Counts = Field((0, 1, 1, 1), description="3×3 layers of each segment at half the image's side")
    coarse: Counts = Field((1, 1, 1, 3), description="3×3 layers of each segment at a quarter of its side")
    stem_channels: Positive = Field(
        24, description="outputs of the 2×2 convolution; 24 hold a whitening whole"
    )
    fine_channels: Positive = Field(64, description="channels of the fine maps")
    coarse_channels: Positive = Field(112, description="channels of the coarse maps")
    head: EarlyHead = Field("conv", description=EARLY_HEAD)
    head_channels: Positive = Field(128, description="width of a head's convolution")
    image_size: int = Field(32, ge=16, description="height and width in pixels")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(self.fine) != len(self.coarse):
            raise ValueError(
                f"expected as many segments in fine as in coarse ({len(self.coarse)}), found {len(self.fine)}"
            )
        return self


def ladder(
    options: LadderOptions, classes: int, mean: Sequence[float], std: Sequence[float]
) -> MultiExitModel:
    """Build a ladder with one exit per segment.

    Args:
        options: the architecture.
        classes: the number of classes.
        mean: channel means of the training images, on the scale 0..1.
        std: channel standard deviations, likewise.
    """
    segments = []
    for index, layers in enumerate(zip(options.fine, options.coarse, strict=True)):
        body: nn.Module = _Climb(options, *layers, first=index == 0)
        if index == 0:
            body = nn.Sequential(_stem(options), body)
        last = index == len(options.fine) - 1
        kind: EarlyHead = "conv" if last else options.head
        head = MapHead(options.coarse_channels, options.head_channels, classes, kind)
        segments.append(Segment(body, head, read=-1))
    return MultiExitModel(segments, mean, std, options.image_size)


def _stem(options: LadderOptions) -> MapBody:
    """Return the layers from the image [N, 3, H, W] to the first fine map."""
    return MapBody(
        [
            nn.Conv2d(3, options.stem_channels, 2),
            nn.ReLU(inplace=True),
            conv_bn_relu(options.stem_channels, options.fine_channels, 3, 2),
        ]
    )


class _Climb(nn.Module):
    """Fine layers, the rung from fine to coarse, and coarse layers."""

    def __init__(self, options: LadderOptions, fine: int, coarse: int, first: bool) -> None:
        super().__init__()
        self.fine = nn.Sequential(*(ShortcutLayer(options.fine_channels) for _ in range(fine)))
        self.rung = nn.Sequential(
            nn.Conv2d(options.fine_channels, options.coarse_channels, 3, 2, 1, bias=False),
            nn.BatchNorm2d(options.coarse_channels),
        )
        self.relu = nn.ReLU()
        self.coarse = nn.Sequential(*(ShortcutLayer(options.coarse_channels) for _ in range(coarse)))
        self.first = first

    def forward(self, features: Features) -> Features:
        fine = self.fine(features[0])
        rung = self.rung(fine)
        coarse = self.relu(rung if self.first else features[1] + rung)
        return fine, self.coarse(coarse)
