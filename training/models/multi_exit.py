"""The multi-exit contract: a model is a list of segments, each with a body and a head.

From this one shape follow the forward truncated at an exit, the export of each segment, its FLOPs, and which
exits use which parameter.
"""

from collections.abc import Sequence
from typing import Self, cast

import torch
from torch import Tensor, nn

from training.models.feature_split import half_detached

Features = tuple[Tensor, ...]


class Segment(nn.Module):
    """The part between two exits: `body` maps features to features, `head` maps those to class logits.

    Args:
        body: takes and returns a tuple of feature maps (MSDNet has several scales), each [N, C, H, W].
        head: takes the body's result and returns logits [N, classes].
        read: which of the features the head looks at, as an index.
    """

    def __init__(self, body: nn.Module, head: nn.Module, read: int = 0) -> None:
        super().__init__()
        self.body = body
        self.head = head
        self.read = read

    def forward(self, features: Features) -> tuple[Tensor, Features]:
        """Return this exit's logits [N, classes] and the features for the next segment."""
        features = self.body(features)
        return self.head(features), features


class MultiExitModel(nn.Module):
    """A classifier with one exit per segment, fed with images as they are served: uint8 [N, H, W, 3].

    Normalisation is part of the model, so that training, evaluation and the exported graph share it.

    Args:
        segments: in order from the image to the last exit.
        mean: channel means of the training images, on the scale 0..1.
        std: channel standard deviations, likewise.
        image_size: height and width in pixels that the model is built for.

    With `feature_split` set, a segment in training passes on what its head reads half detached
    (`training.models.feature_split`); evaluation and export do not depend on it. Modules in `frozen` stay in
    evaluation mode whatever the model's mode is.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, segments: Sequence[Segment], mean: Sequence[float], std: Sequence[float], image_size: int
    ) -> None:
        super().__init__()
        self.segments = nn.ModuleList(segments)
        self.image_size = image_size
        self.feature_split = False
        self.frozen: tuple[nn.Module, ...] = ()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all modules but the frozen ones."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def frozen_modules(self) -> set[nn.Module]:
        """Return the frozen modules and all modules inside them."""
        return {inner for module in self.frozen for inner in module.modules()}

    @property
    def exits(self) -> int:
        """The number of exits."""
        return len(self.segments)

    def segment(self, index: int) -> Segment:
        """Return the segment that ends in exit `index` (0-based)."""
        return cast(Segment, self.segments[index])

    def normalise(self, images: Tensor) -> Features:
        """Map uint8 images [N, H, W, 3] to the first segment's input, float [N, 3, H, W]."""
        # A permuted NHWC tensor is channels-last in memory, the layout that convolutions like best.
        return ((images.permute(0, 3, 1, 2).to(self.mean.dtype) - self.mean) / self.std,)

    def forward(self, images: Tensor, exits: Sequence[int] | None = None) -> list[Tensor]:
        """Return the logits [N, classes] of the exits asked for; nothing after the deepest of them is run.

        Args:
            images: uint8 [N, H, W, 3].
            exits: 0-based exit indices in ascending order; all of them where None.
        """
        wanted = range(self.exits) if exits is None else exits
        features, logits = self.normalise(images), []
        for index in range(max(wanted) + 1):
            features = self.segment(index).body(features)
            if index in wanted:
                logits.append(self.segment(index).head(features))
            if self.feature_split and self.training:
                features = half_detached(features, self.segment(index).read)
        return logits
