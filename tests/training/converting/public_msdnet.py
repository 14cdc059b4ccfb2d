"""MSDNet with the module names of public PyTorch code, written anew from docs, to check names and layers by.

Only the "max" and "min" pruning with a bottleneck or without, for CIFAR and ImageNet; as small as it can be.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from training.models.architectures.msdnet import MSDNetOptions


class Net(nn.Module):
    """Whatever is called `net` there: convolutions, each with BatchNorm and ReLU, in one row."""

    def __init__(self, *convolutions: tuple[int, int, int, int]) -> None:
        super().__init__()
        row: list[nn.Module] = []
        for inputs, outputs, kernel, stride in convolutions:
            row += [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)]
            row += [nn.BatchNorm2d(outputs), nn.ReLU()]
        self.net = nn.Sequential(*row)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.net(x)
        return result


class Stem(nn.Module):
    def __init__(self, o: MSDNetOptions) -> None:
        super().__init__()
        widths = [o.channels * factor for factor in o.grow_factors]
        first: nn.Module = Net((3, widths[0], 3, 1))
        if o.stem == "imagenet":
            first = nn.Sequential(
                nn.Conv2d(3, widths[0], 7, 2, 3), nn.BatchNorm2d(widths[0]), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
            )
        coarser = (Net((fine, coarse, 3, 2)) for fine, coarse in pairwise(widths))
        self.layers = nn.ModuleList([first, *coarser])

    def forward(self, x: Tensor) -> list[Tensor]:
        scales = []
        for layer in self.layers:
            x = layer(x)
            scales.append(x)
        return scales


class Grow(nn.Module):
    def __init__(self, o: MSDNetOptions, width: int, scale: int, finer: bool) -> None:
        super().__init__()
        grown = o.growth * o.grow_factors[scale]
        if finer:
            self.conv_down = self._branch(o, width, scale - 1, grown // 2, 2)
            grown //= 2
        self.conv_normal = self._branch(o, width, scale, grown, 1)
        self.finer = finer

    def _branch(self, o: MSDNetOptions, width: int, source: int, grown: int, stride: int) -> Net:
        inputs = width * o.grow_factors[source]
        if not o.bottleneck:
            return Net((inputs, grown, 3, stride))
        inner = min(inputs, o.bottleneck_factors[source] * grown)
        return Net((inputs, inner, 1, 1), (inner, grown, 3, stride))

    def forward(self, finer: Tensor | None, x: Tensor) -> Tensor:
        down = [self.conv_down(finer)] if self.finer else []
        return torch.cat([x, *down, self.conv_normal(x)], 1)


class Layer(nn.Module):
    def __init__(self, o: MSDNetOptions, width: int, before: int, after: int) -> None:
        super().__init__()
        self.dropped, finest = before - after, o.scales - after
        self.layers = nn.ModuleList(
            Grow(o, width, scale, scale > finest or before > after) for scale in range(finest, o.scales)
        )

    def forward(self, scales: Sequence[Tensor]) -> list[Tensor]:
        finer = [None, *scales]
        return [
            layer(finer[place], scales[place]) for place, layer in enumerate(self.layers, start=self.dropped)
        ]


class Transition(nn.Module):
    def __init__(self, o: MSDNetOptions, width: int, thinned: int, scales: int) -> None:
        super().__init__()
        factors = o.grow_factors[o.scales - scales :]
        self.m = nn.ModuleList(Net((width * f, thinned * f, 1, 1)) for f in factors)

    def forward(self, scales: Sequence[Tensor]) -> list[Tensor]:
        return [thin(x) for thin, x in zip(self.m, scales, strict=True)]


class Classifier(nn.Module):
    def __init__(self, o: MSDNetOptions, inputs: int, classes: int) -> None:
        super().__init__()
        hidden = o.head_channels or inputs
        self.m = nn.Sequential(Net((inputs, hidden, 3, 2)), Net((hidden, hidden, 3, 2)), nn.AvgPool2d(2))
        self.linear = nn.Linear(hidden, classes)

    def forward(self, scales: Sequence[Tensor]) -> Tensor:
        logits: Tensor = self.linear(self.m(scales[-1]).flatten(1))
        return logits


class PublicMSDNet(nn.Module):
    """Takes normalised images [N, 3, H, W]; `forward` returns each block's scales and logits."""

    def __init__(self, o: MSDNetOptions, classes: int) -> None:
        super().__init__()
        self.blocks, self.classifier = nn.ModuleList(), nn.ModuleList()
        layer, width, interval = 0, o.channels, math.ceil(o.layers / o.scales)
        for depth in o.steps:
            block: list[nn.Module] = [Stem(o)] if layer == 0 else []
            for layer in range(layer + 1, layer + depth + 1):  # noqa: B020 - layers count on over blocks
                if o.prune == "max":
                    before = o.scales - max(0, layer - 2) // interval
                    after = o.scales - (layer - 1) // interval
                    thins = before > after
                else:
                    before = min(o.scales, o.layers - layer + 2)
                    after = min(o.scales, o.layers - layer + 1)
                    thins = layer in (o.layers // 3, 2 * o.layers // 3)
                block.append(Layer(o, width, before, after))
                width += o.growth
                if thins and o.reduction:
                    thinned = math.floor(o.reduction * width)
                    block.append(Transition(o, width, thinned, after))
                    width = thinned
            self.blocks.append(nn.Sequential(*block))
            self.classifier.append(Classifier(o, width * o.grow_factors[-1], classes))

    def forward(self, images: Tensor) -> list[tuple[list[Tensor], Tensor]]:
        found, scales = [], images
        for block, classifier in zip(self.blocks, self.classifier, strict=True):
            scales = block(scales)
            found.append((scales, classifier(scales)))
        return found
