"""A small network with BatchNorm for tests, as a user's factory would make it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Net(nn.Module):
    """Three convolutions with BatchNorm, a dropout, and a classifier."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.third = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5))
        self.classify = nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Tensor:
        features = self.third(self.second(self.first(images)))
        logits: Tensor = self.classify(F.adaptive_avg_pool2d(features, 1).flatten(1))
        return logits


def net(num_classes: int) -> nn.Module:
    """Return the network, freshly drawn."""
    return Net(num_classes)


def locked(num_classes: int) -> nn.Module:
    """Return the network, its parameters frozen by its maker."""
    return Net(num_classes).requires_grad_(False)


def trained(classes: int = 10) -> dict[str, Tensor]:
    """Return weights and statistics that no fresh network has."""
    generator = torch.Generator().manual_seed(5)
    return {
        name: torch.rand(tensor.shape, generator=generator) - (0.4 if tensor.dim() > 1 else 0)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in Net(classes).state_dict().items()
    }
