"""Rewrite what torch does in special ways, so that a network can be cut anywhere and exported.

In-place steps become plain ones: what crosses a cut has to stay what it was. Global pooling becomes a mean.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

_ONE_PLACE = (1, (1, 1), [1, 1])
_OUT_OF_PLACE: dict[Callable[..., Any], Callable[..., Any]] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}


class GlobalAverage(nn.Module):
    """The mean over height and width, which torch's adaptive pooling gives in another memory layout.

    torch.onnx turns the step between layouts into a gather over all values of the batch.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, C, 1, 1] of features [N, C, H, W]."""
        return torch.mean(x, (2, 3), keepdim=True)


def make_modules_plain(net: nn.Module) -> None:
    """Let modules leave their inputs as they are, and average so that it can be exported, in place."""
    for module in list(net.modules()):
        if getattr(module, "inplace", False) is True:
            setattr(module, "inplace", False)  # noqa: B010 - a plain flag of activations and dropout
        for name, child in module.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size in _ONE_PLACE:
                setattr(module, name, GlobalAverage())


def make_steps_plain(graph: fx.Graph) -> None:
    """Let every step give a new value, which all that read the changed one afterwards read instead."""
    seen: set[fx.Node] = set()
    for node in list(graph.nodes):
        seen.add(node)
        if _is_global_average(node):
            node.target, node.args, node.kwargs = torch.mean, (node.args[0], (2, 3), True), {}
            continue
        if node.kwargs.get("inplace"):
            node.update_kwarg("inplace", False)
        elif node.op == "call_function" and node.target in _OUT_OF_PLACE:
            node.target = _OUT_OF_PLACE[node.target]
        elif node.op == "call_function" and _plain_function(node.target):
            node.target = _plain_function(node.target)
        elif node.op == "call_method" and _changes_in_place(str(node.target), Tensor):
            node.target = str(node.target)[:-1]
        else:
            continue
        changed = node.args[0]
        if isinstance(changed, fx.Node):
            for reader in [user for user in changed.users if user not in seen]:
                reader.replace_input_with(changed, node)


def _is_global_average(node: fx.Node) -> bool:
    size = node.args[1] if node.args[1:] else node.kwargs.get("output_size")
    return node.target is F.adaptive_avg_pool2d and bool(node.args) and size in _ONE_PLACE


def _plain_function(target: object) -> Any:
    """Return the function that gives what `target` puts into its argument; None where that is no such one."""
    name = getattr(target, "__name__", "")
    return next((getattr(home, name[:-1]) for home in (torch, F) if _changes_in_place(name, home)), None)


def _changes_in_place(name: str, home: object) -> bool:
    return name.endswith("_") and not name.endswith("__") and hasattr(home, name) and hasattr(home, name[:-1])
