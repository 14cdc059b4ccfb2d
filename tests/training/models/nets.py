"""Small networks as users write them, which `--model tests.training.models.nets:NAME` finds."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import SwinTransformer, VisionTransformer


class Branching(nn.Module):
    """Does what makes cutting hard: in-place steps, a shortcut, a layer used twice, sizes of tensors."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.left = nn.Conv2d(8, 8, 3, padding=1)
        self.pair = nn.ModuleList([nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)])
        self.relu = nn.ReLU(inplace=True)
        self.split = Halves()
        self.scale = nn.Parameter(torch.linspace(0.5, 2, 8).view(1, 8, 1, 1))
        self.unused = nn.Linear(2, 2)
        self.dropout = nn.Dropout(0.5)
        self.flat = nn.Flatten()
        self.classifier = nn.Linear(8, num_classes)
        self.after = nn.Identity()

    def forward(self, images: Tensor, weights: Tensor | None = None) -> Tensor:
        rows, height = images.shape[0], images.shape[2]
        x = self.stem(images)
        y = self.left(x)
        y += x
        torch.relu_(y)
        y = y * self.scale if weights is None else y * weights
        y = self.relu(self.pair[0](y))
        y = self.relu(self.pair[1](y)).mul_(height)
        first, second = self.split(y)
        y = torch.cat([second, first], 1).view(rows, 8, -1).mean(2)
        y = self.dropout(self.flat(F.hardswish(y, inplace=True)))
        logits: Tensor = self.after(self.classifier(y))
        return logits


class Halves(nn.Module):
    """Gives two tensors."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, :4], x[:, 4:]


class Positions(nn.Module):
    """Makes values that cannot cross a cut: one that knows no images, one of whole numbers, and a size."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.second = nn.Linear(8, 8)
        self.third = nn.Linear(8, 8)
        self.fourth = nn.Linear(8, 8)
        self.classify = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = images.mean((1, 2))[:, :8]
        shape = x.size()
        x = self.first(x)
        x = self.second(x.view(shape))
        steps = x.new_ones(8)
        x = self.third(x) * steps
        best = x.argmax(1)
        x = self.fourth(x) * best[:, None]
        logits: Tensor = self.classify(x)
        return logits


class Training(nn.Module):
    """Does something else in training."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        x: Tensor = self.layer(images).mean((2, 3))
        return F.dropout(x, 0.5, training=self.training)


class Deciding(Training):
    """Goes a way that depends on the values."""

    def forward(self, images: Tensor) -> Tensor:
        x: Tensor = self.layer(images).mean((2, 3))
        return x if x.sum() > 0 else -x


def vision_transformer(num_classes: int, image_size: int) -> nn.Module:
    """The smallest of its kind."""
    net: nn.Module = VisionTransformer(image_size, 8, 2, 2, 16, 32, num_classes=num_classes)
    for parameter in net.get_submodule("heads.head").parameters():
        nn.init.normal_(parameter)  # zero by default, which would hide differences
    return net


def swin(num_classes: int) -> nn.Module:
    """The smallest of its kind, with stochastic depth."""
    net: nn.Module = SwinTransformer([4, 4], 16, [2, 2], [2, 2], [4, 4], num_classes=num_classes)
    return net


def sized(num_classes: int, image_size: int) -> nn.Module:
    """A factory that is told the image size."""
    body = nn.Conv2d(3, 4, image_size)
    return nn.Sequential(body, nn.Flatten(), nn.Linear(4, num_classes))


def stubborn(num_classes: int) -> nn.Module:
    """A factory that does not care for the number of classes."""
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def nothing(num_classes: int) -> None:
    """No factory."""


def picky(depth: int) -> nn.Module:
    """Takes no num_classes."""
    return nn.Linear(depth, 2)


class ShapeBranching(nn.Module):
    """Goes a way that depends on shapes alone, as networks of transformers do."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.second = nn.Conv2d(8, 8, 3, 2, 1)
        self.classify = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1] != 3:
            raise ValueError("expected three channels")
        x = self.first(images)
        x = F.dropout(self.second(x), 0.5, training=self.training)
        x = x.mean((2, 3)) if x.shape[2] > 1 else x.flatten(1)
        logits: Tensor = self.classify(x)
        return logits


def shape_branching(num_classes: int) -> nn.Module:
    """A network that torch.fx cannot follow, and torch.export can."""
    return ShapeBranching(num_classes)


def broken(num_classes: int) -> nn.Module:
    """A factory whose file of weights is gone."""
    raise FileNotFoundError("weights.pth")
