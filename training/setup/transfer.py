"""A start from the layers of a run with other classes or another depth: transfer learning.

Source: Yosinski et al., "How Transferable Are Features in Deep Neural Networks?", NeurIPS 2014: layers that
were trained on one data set and go on training on another ("fine-tuned") start better than drawn ones.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from training.errors import ConfigError
from training.models.multi_exit import MultiExitModel

_OF_THE_DATA = ("mean", "std")


def transfer(model: MultiExitModel, state: Mapping[str, Tensor]) -> set[str]:
    """Take over every parameter and buffer of another model that has the same name and shape.

    Layers of other shapes stay as they were drawn: classifiers where the classes are others. So does the
    normalisation, which is of the data.

    Args:
        model: changed in place.
        state: of the other model.

    Returns:
        The names of the parameters that were taken over.

    Raises:
        ConfigError: no convolution or other layer before the classifiers fits.
    """
    own = model.state_dict()
    fitting = {
        name: tensor
        for name, tensor in state.items()
        if name in own and name not in _OF_THE_DATA and own[name].shape == tensor.shape
    }
    taken = {name for name, _ in model.named_parameters() if name in fitting}
    if not any(".body." in name and name.endswith("weight") for name in taken):
        raise ConfigError(
            "--transfer-from: expected a run of the same architecture, perhaps of other classes or another "
            f"depth; found none of the {len(own)} tensors of this model's layers in it"
        )
    with torch.no_grad():
        for name, tensor in fitting.items():
            own[name].copy_(tensor)
    return taken
