"""The head of an exit on one map: a strided 3×3 convolution, its mean, and a linear layer."""

from torch import Tensor, nn

from training.models.layers import HEAD_CONVOLUTIONS, EarlyHead
from training.models.multi_exit import Features


class MapHead(nn.Module):
    """Classifies the last of the features, a map [N, C, H, W].

    Args:
        inputs: channels of the map.
        width: channels of the convolution.
        classes: how many there are.
        kind: of the convolution; `mean` has none, and needs no width.
    """

    def __init__(self, inputs: int, width: int, classes: int, kind: EarlyHead = "conv") -> None:
        super().__init__()
        width = inputs if kind == "mean" else width
        self.features = nn.Identity() if kind == "mean" else HEAD_CONVOLUTIONS[kind](inputs, width, 3, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classify = nn.Linear(width, classes)

    def forward(self, features: Features) -> Tensor:
        """Return logits [N, classes]."""
        logits: Tensor = self.classify(self.pool(self.features(features[-1])).flatten(1))
        return logits
