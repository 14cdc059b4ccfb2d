"""Which exits use which parameter, found by asking autograd rather than by assuming it from the segments.

In MSDNet the finer scales of a block's last layers serve later exits only: 66 tensors of segment k do not
reach exit k. A fusion weight given to such a pair would take softmax mass for a gradient that is always zero.
"""

import torch
from torch import Tensor, nn

from training.models.multi_exit import MultiExitModel


def reach(model: MultiExitModel) -> Tensor:
    """Return bool [exits, parameters]: entry (k, p) tells whether exit k's logits depend on parameter p.

    Parameters are those that are not frozen, in the order of `model.parameters()`. The model's buffers and
    gradients stay as they were.

    Where features are passed on half detached, autograd's graph still holds the detached half, with a
    gradient of zero. There the gradient itself is asked: a parameter is reached when any of its elements is.
    """
    parameters = trainable(model)
    was_training = model.training
    model.eval()
    model.training = True  # the model's own flag: features are passed on between segments as in training
    size = (2, model.image_size, model.image_size, 3)
    images = torch.randint(256, size, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.enable_grad():
        logits = model(images.to(model.mean.device))
        used = [
            torch.autograd.grad(exit_logits.sum(), parameters, allow_unused=True, retain_graph=True)
            for exit_logits in logits
        ]
    model.train(was_training)
    return torch.tensor([[_reaches(gradient, model.feature_split) for gradient in row] for row in used])


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are not frozen, in order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _reaches(gradient: Tensor | None, split: bool) -> bool:
    return gradient is not None and (not split or bool(gradient.count_nonzero()))
