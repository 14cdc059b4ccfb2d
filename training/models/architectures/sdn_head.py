"""The internal classifier of a Shallow-Deep Network: few parameters, whatever the features' size.

Source: Kaya et al., "Shallow-Deep Networks: Understanding and Mitigating Network Overthinking", ICML 2019
(arXiv:1810.07052), section 3. Deviation: the mixing weight starts at one half, the authors draw it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.models.multi_exit import Features

POOLED = 4
"""Features are pooled to 4×4 where they are at least that large, and taken as they are below."""


class InternalClassifier(nn.Module):
    """Pool by α·max + (1 − α)·average, α being learned, and classify by one linear layer.

    Args:
        channels: of the features.
        size: height and width of the features, in pixels.
        classes: the number of classes.
    """

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        self.kernel = size // POOLED
        if self.kernel:
            # A scalar has no shape, so that it takes the features' precision rather than raising it.
            self.mix = nn.Parameter(torch.tensor(0.5))
        side = size // self.kernel if self.kernel else size
        self.classify = nn.Linear(channels * side**2, classes)

    def forward(self, features: Features) -> Tensor:
        """Return logits [N, classes] of features [N, channels, size, size]."""
        (x,) = features
        if self.kernel:
            average = F.avg_pool2d(x, self.kernel)
            x = average + self.mix * (F.max_pool2d(x, self.kernel) - average)
        logits: Tensor = self.classify(x.flatten(1))
        return logits
