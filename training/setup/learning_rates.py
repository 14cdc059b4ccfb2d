"""Smaller learning rates for what is trained already: by the network's depth, and for all of it.

Source: Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification", ACL 2018, section
3.2, discriminative fine-tuning: each layer's rate is that of the next one divided by 2.6. Deviations: the
steps are the segments between exits, and the heads of early exits, which begin untrained, take the whole
rate.
"""

from torch import nn

from training.models.multi_exit import MultiExitModel


def rate_factors(model: MultiExitModel, backbone: float, decay: float) -> dict[nn.Parameter, float]:
    """Return what the learning rate of each parameter is multiplied by.

    Args:
        model: whose parameters.
        backbone: of everything but the heads of early exits.
        decay: of each segment's body, over that of the next one.
    """
    factors: dict[nn.Parameter, float] = {}
    last = model.exits - 1
    for index in range(model.exits):
        segment = model.segment(index)
        factors |= dict.fromkeys(segment.body.parameters(), backbone * decay ** (last - index))
        factors |= dict.fromkeys(segment.head.parameters(), backbone if index == last else 1.0)
    return factors
