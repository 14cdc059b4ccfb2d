"""ResNets of He et al. (2015) for images of 32 pixels, with public weights; it needs torch alone."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EXITS = ("layer1", "layer2")
_STAGES = (16, 32, 64)


class Block(nn.Module):
    """Two convolutions and a shortcut without weights (option A)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self._grows = outputs - inputs

    def forward(self, images: Tensor) -> Tensor:
        """Return maps [n, outputs, H / stride, W / stride]."""
        made = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(images)))))
        if self._grows:
            images = F.pad(images[:, :, ::2, ::2], (0, 0, 0, 0, self._grows // 2, self._grows // 2))
        return F.relu(made + images)


class ResNet(nn.Module):
    """`layer1` to `layer3` of some blocks each; takes normalised images [n, 3, 32, 32]."""

    def __init__(self, classes: int = 10, blocks: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _STAGES[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(_STAGES[0])
        before = _STAGES[0]
        for number, width in enumerate(_STAGES, start=1):
            first = Block(before, width, 1 if number == 1 else 2)
            rest = [Block(width, width, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(first, *rest))
            before = width
        self.linear = nn.Linear(before, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [n, classes]."""
        made = F.relu(self.bn1(self.conv1(images)))
        for number in (1, 2, 3):
            made = self.get_submodule(f"layer{number}")(made)
        logits: Tensor = self.linear(made.mean((2, 3)))
        return logits


def resnet20(num_classes: int) -> ResNet:
    """Make the network for `--model benchmarks.earlyon.network:resnet20`."""
    return ResNet(num_classes)


def trained(weights: Path) -> ResNet:
    """Load a checkpoint of github.com/akamaster/pytorch_resnet_cifar10, `resnetDEPTH-….th`."""
    depth = int(weights.name.removeprefix("resnet").partition("-")[0])
    net = ResNet(blocks=(depth - 2) // (2 * len(_STAGES)))
    state = torch.load(weights, weights_only=True, map_location="cpu")["state_dict"]
    net.load_state_dict({name.removeprefix("module."): values for name, values in state.items()})
    return net.eval()
