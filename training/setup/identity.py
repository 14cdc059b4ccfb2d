"""Convolutions that start by passing their input on, so that a deep plain net begins as a shallow one.

Source: Zagoruyko and Komodakis, "DiracNets", 2017, as airbench has it (Jordan, "94% on CIFAR-10 in 3.29
Seconds on a Single GPU", arXiv:2404.00498): of a convolution with M inputs, the first M outputs are the
inputs, and outputs beyond these stay as they were drawn.

Deviations: with fewer outputs than inputs, the first inputs are passed on. A layer with a shortcut around it
passes its input on twice at first.
"""

import torch
from torch import nn

from training.models.multi_exit import MultiExitModel


def pass_on(model: MultiExitModel) -> int:
    """Change every convolution of 3×3 or larger odd kernels but those of the image, in place.

    Returns:
        How many were changed.
    """
    changed = 0
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and _applies(module):
            with torch.no_grad():
                nn.init.dirac_(module.weight[: module.in_channels])
            changed += 1
    return changed


def _applies(layer: nn.Conv2d) -> bool:
    odd = all(size % 2 and size > 1 for size in layer.kernel_size)
    return odd and layer.groups == 1 and layer.in_channels > 3
