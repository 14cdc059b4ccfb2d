"""BatchNorm's running statistics: estimated anew for given weights; and which buffers they are."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from training.models.multi_exit import MultiExitModel


def estimate(model: MultiExitModel, batches: Iterable[Tensor]) -> None:
    """Replace running statistics by their plain average over batches; frozen layers keep theirs.

    torch's `update_bn` does the same with all layers.

    Args:
        model: changed in place; its mode stays as it was.
        batches: images as they are served, uint8 [n, H, W, 3] each; not asked for without BatchNorm.
    """
    frozen = model.frozen_modules()
    norms = [module for module in model.modules() if isinstance(module, _NormBase) and module not in frozen]
    if not norms:
        return
    momenta, mode = [norm.momentum for norm in norms], model.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the average of all batches so far
    model.train()
    with torch.no_grad():
        for images in batches:
            model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(mode)


def statistics(model: MultiExitModel) -> list[Tensor]:
    """Return the buffers that change in training: floats, and not those of frozen layers."""
    kept = {id(buffer) for module in model.frozen_modules() for buffer in module.buffers()}
    return [buffer for buffer in model.buffers() if buffer.is_floating_point() and id(buffer) not in kept]
