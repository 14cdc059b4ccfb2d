"""The standard head of an early exit in any network: the mean over places, and one linear layer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.models.multi_exit import Features


class ExitHead(nn.Module):
    """Classify the first of the features, whatever kind they are.

    - [N, C, H, W], as convolutions give: global average, linear.
    - [N, H, W, C] or [N, tokens, C], as transformers give: LayerNorm, mean over all tokens (a class token
      among them), linear. Their own classifiers normalise too, since nothing else bounds what blocks add up.
    - [N, C]: linear.

    Maps are recognised by their square: H = W. Where C is H too, the first reading wins.

    Args:
        shape: of the features, batch included.
        classes: the number of classes.
    """

    def __init__(self, shape: Sequence[int], classes: int) -> None:
        super().__init__()
        channels_first = len(shape) == 4 and shape[2] == shape[3]
        self.places = (2, 3) if channels_first else tuple(range(1, len(shape) - 1))
        channels = shape[1] if channels_first else shape[-1]
        tokens = len(shape) > 2 and not channels_first
        self.normalise = nn.LayerNorm(channels) if tokens else nn.Identity()
        self.classify = nn.Linear(channels, classes)

    def forward(self, features: Features) -> Tensor:
        """Return logits [N, classes] of the first of the features."""
        x = self.normalise(features[0])
        if self.places:
            x = torch.mean(x, self.places)
        logits: Tensor = self.classify(x)
        return logits


def readable(shape: Sequence[int]) -> bool:
    """Tell whether a head can classify features of this shape, batch included."""
    if len(shape) == 4:
        return shape[2] == shape[3] or shape[1] == shape[2]
    return len(shape) in (2, 3)
