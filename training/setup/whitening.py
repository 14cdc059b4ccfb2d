"""A first convolution that whitens image patches, so that training begins with decorrelated inputs.

Source: Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv:2404.00498, after Page,
"How to Train Your ResNet 8: Bag of Tricks", 2019: the filters are the eigenvectors of the covariance of k×k
patches, each divided by the root of its eigenvalue, and their negatives; they are not trained.

Deviations: a convolution of another width takes as many of the filters as it has outputs, first all the
eigenvectors, the largest eigenvalue first, then their negatives; outputs beyond these stay as they were
drawn. One with fewer outputs than a patch has values would lose some of the image, and goes on training. Of
large images not every patch is looked at. A bias trains throughout; there, for three epochs.
"""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.errors import ConfigError
from training.models.multi_exit import MultiExitModel

IMAGES = 5000
"""Training images that the patches are taken from."""

_LEAST_VARIANCE = 5e-4
_AT_ONCE = 32
_PATCHES = 1024
"""Patches that are taken of an image, roughly: all of 32×32 pixels, every seventh each way of 224×224."""


def whiten(model: MultiExitModel, batches: Iterable[Tensor]) -> None:
    """Turn the first convolution into a whitening.

    Args:
        model: changed in place.
        batches: training images, uint8 [n, H, W, 3] each, not augmented.

    Raises:
        ConfigError: the model does not begin with a convolution.
    """
    convolution = first_convolution(model)
    weight = convolution.weight
    filters = whitening_filters(covariance(model, batches, weight.shape[2:]))
    both = torch.cat([filters, -filters])[: len(weight)].to(weight)
    with torch.no_grad():
        weight[: len(both)] = both.view(-1, *weight.shape[1:])


def freeze(model: MultiExitModel) -> None:
    """Take the first convolution's filters out of training, where they can hold a patch whole."""
    weight = first_convolution(model).weight
    weight.requires_grad_(len(weight) < weight[0].numel())


def first_convolution(model: MultiExitModel) -> nn.Conv2d:
    """Return the convolution that reads the image.

    Raises:
        ConfigError: there is none.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            if module.in_channels == 3 and module.groups == 1:
                return module
            break
    raise ConfigError(
        "--whiten: expected a model that begins with a convolution of the image's three channels"
    )


def first_weight(model: MultiExitModel) -> str | None:
    """Return the name of the parameter that is whitened; None where there is none."""
    try:
        wanted = first_convolution(model).weight
    except ConfigError:
        return None
    return next(name for name, parameter in model.named_parameters() if parameter is wanted)


def covariance(model: MultiExitModel, batches: Iterable[Tensor], kernel: Iterable[int]) -> Tensor:
    """Return the second moments of the patches of normalised images, float64 [3·k·k, 3·k·k].

    Args:
        model: normalises.
        batches: images, uint8 [n, H, W, 3] each.
        kernel: height and width of a patch, in pixels.
    """
    size = tuple(kernel)
    total, count = torch.zeros(()), 0
    with torch.no_grad():
        for images in batches:
            for few in torch.split(images, _AT_ONCE):
                patches = _patches(model.normalise(few)[0], size)
                total = total + patches.T @ patches
                count += len(patches)
    return total / count


def _patches(images: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return patches of float images [N, 3, H, W], float64 [n, 3·k·k]; of large images not all of them."""
    height, width = images.shape[2:]
    stride = max(1, math.isqrt(height * width // _PATCHES))
    return F.unfold(images, size, stride=stride).transpose(1, 2).flatten(0, 1).double()


def whitening_filters(covariance: Tensor) -> Tensor:
    """Return the eigenvectors [n, n], a row each, divided by the roots of their eigenvalues, largest first.

    >>> whitening_filters(torch.diag(torch.tensor([4.0, 100.0]))).abs()
    tensor([[0.0000, 0.1000],
            [0.5000, 0.0000]])
    """
    values, vectors = torch.linalg.eigh(covariance)
    filters: Tensor = (vectors / torch.sqrt(values + _LEAST_VARIANCE)).T.flip(0)
    return filters
