"""Which exits use which parameter, found by asking autograd rather than by assuming it from the segments.

In MSDNet the finer scales of a block's last layers serve later exits only: 66 tensors of segment k do not
reach exit k. A fusion weight given to such a pair would take softmax mass for a gradient that is always zero.

Where features are passed on half detached, a part of a tensor can belong to fewer exits than the rest: the
output channels of a convolution whose second half is detached feed their own exit alone. So reach is known
for every row of a tensor (its first dimension, the output channels).
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.models.multi_exit import MultiExitModel

_DRAWS, _IMAGES = 3, 8


def reach(model: MultiExitModel) -> Tensor:
    """Return bool [exits, parameters]: entry (k, p) is whether exit k's logits depend on parameter p.

    Parameters are those that are not frozen, in the order of `model.parameters()`. The model's buffers and
    gradients stay as they were.
    """
    return whole_reach(row_reach(model))


def whole_reach(rows: Sequence[Tensor]) -> Tensor:
    """Return bool [exits, parameters]: which exits reach any row of each parameter.

    Args:
        rows: of each parameter, bool [exits, rows], as `row_reach` returns it.
    """
    return torch.stack([reached.any(1) for reached in rows], 1)


def row_reach(model: MultiExitModel) -> list[Tensor]:
    """Return for each parameter that is not frozen which exits depend on which of its rows.

    Where nothing is detached, autograd's graph decides. Where features are passed on half detached, the graph
    still holds the detached half, with a gradient of zero: then gradients are asked, on copies of the model
    whose parameters are drawn anew. At the model's own parameters a gradient can be zero for other reasons (a
    head that is initialised at zero, a unit that is never active), and what it says there is not what the
    structure is. A row that no exit seems to reach takes the graph's answer.

    Returns:
        Per parameter bool [exits, rows], or [exits, 1] where an exit reaches all of its rows or none.
    """
    graph = torch.tensor([[g is not None for g in row] for row in _gradients(model)])
    if not model.feature_split:
        return [used.unsqueeze(1) for used in graph.T]
    found = [torch.zeros(model.exits, len(p) if p.dim() else 1, dtype=torch.bool) for p in trainable(model)]
    for seed in range(_DRAWS):
        for exit_index, gradients in enumerate(_gradients(_redrawn(model, seed))):
            for reached, gradient in zip(found, gradients, strict=True):
                if gradient is not None:
                    reached[exit_index] |= (gradient.reshape(reached.shape[1], -1) != 0).any(1).cpu()
    return [_compact(rows, used.unsqueeze(1)) for rows, used in zip(found, graph.T, strict=True)]


def _compact(rows: Tensor, graph: Tensor) -> Tensor:
    rows = torch.where(rows.any(0), rows, graph)
    return rows[:, :1] if bool((rows == rows[:, :1]).all()) else rows


def _gradients(model: MultiExitModel) -> list[tuple[Tensor | None, ...]]:
    """Return the gradient of every exit's summed logits by every parameter; None where it has none."""
    parameters = trainable(model)
    was_training = model.training
    model.eval()
    model.training = True  # the model's own flag: features are passed on between segments as in training
    size = (_IMAGES, model.image_size, model.image_size, 3)
    images = torch.randint(256, size, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.enable_grad():
        logits = model(images.to(model.mean.device))
        used: list[tuple[Tensor | None, ...]] = [
            torch.autograd.grad(exit_logits.sum(), parameters, allow_unused=True, retain_graph=True)
            if exit_logits.requires_grad
            else (None,) * len(parameters)
            for exit_logits in logits
        ]
    model.train(was_training)
    return used


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are not frozen, in order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _redrawn(model: MultiExitModel, seed: int) -> MultiExitModel:
    """Return a copy with random parameters: matrices from N(0, 1 / inputs), vectors near 1, fresh statistics.

    In double precision, so that no gradient is lost to rounding on the way.
    """
    drawn = copy.deepcopy(model).double()
    generator = torch.Generator().manual_seed(seed)
    for module in drawn.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.reset_running_stats()
    with torch.no_grad():
        for parameter in drawn.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            inputs = parameter[0].numel() if parameter.dim() > 1 else 0
            parameter.copy_(noise / inputs**0.5 if inputs else 1 + 0.1 * noise)
    return drawn
