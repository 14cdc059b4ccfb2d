"""The network as a run trains it: where, in which layout, and which of its weights."""

import torch

from training.config import FitConfig
from training.models.multi_exit import MultiExitModel
from training.setup.batchnorm import freeze_scales
from training.setup.freezing import freeze_layers
from training.setup.whitening import freeze


def prepared(model: MultiExitModel, config: FitConfig, device: str) -> MultiExitModel:
    """Return `model` on a device, ready for training; it is changed in place.

    Args:
        model: with the weights that the run starts from.
        config: the run's settings.
        device: as torch names it.
    """
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.feature_split = config.feature_split
    if config.whiten:
        freeze(model)
    if config.freeze_bn_scale:
        freeze_scales(model)
    freeze_layers(model, config.freeze)
    return model
