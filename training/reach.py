"""Which exits use which parameter, found by asking autograd rather than by assuming it from the segments.

In MSDNet the finer scales of a block's last layers serve later exits only: 66 tensors of segment k do not
reach exit k. A fusion weight given to such a pair would take softmax mass for a gradient that is always zero.
"""

import torch
from torch import Tensor

from training.models.multi_exit import MultiExitModel


def reach(model: MultiExitModel) -> Tensor:
    """Return bool [exits, parameters]: entry (k, p) tells whether exit k's logits depend on parameter p.

    Parameters are in the order of `model.parameters()`. The model's buffers and gradients stay as they were.
    """
    parameters = list(model.parameters())
    was_training = model.training
    model.eval()
    images = torch.zeros(
        1, model.image_size, model.image_size, 3, dtype=torch.uint8, device=model.mean.device
    )
    with torch.enable_grad():
        logits = model(images)
        used = [
            torch.autograd.grad(exit_logits.sum(), parameters, allow_unused=True, retain_graph=True)
            for exit_logits in logits
        ]
    model.train(was_training)
    return torch.tensor([[gradient is not None for gradient in row] for row in used])
