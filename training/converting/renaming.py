"""Fills a model with a published state dict, layer by layer."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from training.errors import RunError
from training.models.multi_exit import MultiExitModel

_OF_THE_DATA = ("mean", "std")
_COUNTER = "num_batches_tracked"
_SHOWN = 5


def fill(model: MultiExitModel, tensors: Mapping[str, Tensor], public_name: Callable[[str], str]) -> None:
    """Set every parameter and buffer of `model` but its normalisation.

    Args:
        model: changed in place.
        tensors: by their public names.
        public_name: of one of the model's own.

    Raises:
        RunError: a tensor is missing, left over, of another shape, or not finite; nothing was changed. The
            counters of BatchNorm alone may be missing, as torch before 0.4.1 had none.
    """
    own = {name: tensor for name, tensor in model.state_dict().items() if name not in _OF_THE_DATA}
    names = {name: public_name(name) for name in own}
    problems = [*_problems(own, names, tensors)]
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise RunError(
            f"the checkpoint is not of this model: {'; '.join(problems[:_SHOWN])}{more}. --model-option sets "
            "what it was trained with: blocks, base, step, growth, channels …"
        )
    with torch.no_grad():
        for name, tensor in own.items():
            if names[name] in tensors:
                tensor.copy_(tensors[names[name]])


def _problems(
    own: Mapping[str, Tensor], names: Mapping[str, str], tensors: Mapping[str, Tensor]
) -> list[str]:
    found = []
    for name, tensor in own.items():
        public = names[name]
        if public not in tensors:
            if not name.endswith(_COUNTER):
                found.append(f"{public} is missing")
        elif tensors[public].shape != tensor.shape:
            found.append(f"{public}: expected the shape {[*tensor.shape]}, found {[*tensors[public].shape]}")
        elif not tensors[public].isfinite().all():
            found.append(f"{public} holds NaN or infinity")
    left_over = sorted(tensors.keys() - set(names.values()))
    return [*found, *(f"{name} is left over" for name in left_over)]
