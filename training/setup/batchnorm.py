"""What is done to BatchNorm's own parameters: scales that are not trained, and biases that learn faster.

Source: Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv:2404.00498, after Page, "How to Train
Your ResNet 8: Bag of Tricks", 2019: with ReLU-like activations the scale is redundant beside the next layer's
weights, and biases at 64 times the learning rate find their place within the first of few epochs.
"""

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from training.models.multi_exit import MultiExitModel


def batchnorms(model: MultiExitModel) -> Iterator[_BatchNorm]:
    """Yield the BatchNorm layers that have parameters of their own."""
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.affine:
            yield module


def batchnorm_biases(model: MultiExitModel) -> list[nn.Parameter]:
    """Return the biases that are trained."""
    return [layer.bias for layer in batchnorms(model) if layer.bias.requires_grad]


def freeze_scales(model: MultiExitModel) -> None:
    """Take BatchNorm's scales out of training; they stay at 1, or where other weights began."""
    for layer in batchnorms(model):
        layer.weight.requires_grad_(False)
