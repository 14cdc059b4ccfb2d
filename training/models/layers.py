"""The building blocks that the architectures here are made of."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

EarlyHead = Literal["conv", "separable", "mean"]
"""The head of an early exit: 3×3 convolutions, separable ones, or the mean over places, and a linear layer.

A head costs every image that goes past it. The last exit's is the network's own classifier: it stays.
"""

EARLY_HEAD = "head of each early exit: 3×3 convolutions, separable ones, or the mean over places alone"


def conv_bn_relu(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Return convolution (no bias, padded to keep the size), BatchNorm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def separable_bn_relu(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Return a convolution of each channel by itself and a 1×1 one, each with BatchNorm and ReLU.

    Source: Howard et al., "MobileNets", 2017 (arXiv:1704.04861), section 3.1.
    """
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, kernel, stride, kernel // 2, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(inplace=True),
        *conv_bn_relu(inputs, outputs, 1),
    )


HEAD_CONVOLUTIONS: dict[EarlyHead, Callable[[int, int, int, int], nn.Sequential]] = {
    "conv": conv_bn_relu,
    "separable": separable_bn_relu,
}
"""What makes a convolution of a head of that kind; `mean` has none."""


class ShortcutLayer(nn.Module):
    """One 3×3 convolution with a shortcut around it: x → ReLU(x + BN(conv(x)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of the same shape [N, C, H, W]."""
        result: Tensor = self.relu(x + self.residual(x))
        return result
