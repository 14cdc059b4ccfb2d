"""The layers of a segment whose features are one map."""

from collections.abc import Iterable

from torch import nn

from training.models.multi_exit import Features


class MapBody(nn.Module):
    """Layers from one feature map [N, C, H, W] to the next.

    Args:
        layers: in their order.
    """

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Features) -> Features:
        """Return the next map."""
        return (self.layers(features[0]),)
