"""Read a network by torch.export, which settles branches on shapes and knows every step of torch.

The graph holds for evaluation mode alone: BatchNorm's statistics and dropout are settled when it is made.
Layers keep the names that they have in the network, since every step notes which module's forward it is from.
"""

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, fx, nn

from training.errors import ConfigError
from training.models.graphs.failing_line import failing_line, first_line
from training.models.graphs.free_batch import free_batch
from training.models.graphs.plain_graph import make_modules_plain
from training.models.graphs.tracing import BATCHES, Trace, finished

_GUARDS = "_guards_fn"


def trace_exported(net: nn.Module, image_size: int, name: str) -> Trace:
    """Trace `net` in evaluation mode for square images, with a free batch.

    Args:
        net: maps float images [N, 3, H, W] to logits.
        image_size: height and width in pixels.
        name: of the network, for messages.

    Raises:
        ConfigError: torch.export cannot follow the code, or it takes no such images.
    """
    make_modules_plain(net)
    images = torch.zeros(BATCHES[0], 3, image_size, image_size)
    free = (free_batch(),)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(net.eval(), (images,), dynamic_shapes=free, strict=False)
            if any(_changes_in_place(node) for node in program.graph.nodes):
                program = program.run_decompositions({})  # without any: in-place steps become plain ones
    except Exception as error:  # whatever a foreign module raises, torch cannot export it
        raise ConfigError(
            f"{name}: torch.export cannot follow its forward{failing_line(error)}: {first_line(error)}"
        ) from error
    module = program.module()
    _tidy(module.graph)
    plain = fx.GraphModule(module, module.graph)  # the program's own module refuses to change its mode
    return finished(name, plain, plain.graph, _calls(plain.graph), image_size)


def _changes_in_place(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def _tidy(graph: fx.Graph) -> None:
    """Drop checks of the input, and give the output alone."""
    for node in list(graph.nodes):
        if node.op == "call_module" and node.target == _GUARDS:
            graph.erase_node(node)
        elif node.op == "output" and isinstance(node.args[0], tuple | list) and len(node.args[0]) == 1:
            node.args = (node.args[0][0],)
    graph.eliminate_dead_code()


def _calls(graph: fx.Graph) -> Mapping[str, list[fx.Node | None]]:
    """Return the node that each call of each module gives; None where it is not a single one."""
    inside: dict[str, set[fx.Node]] = {}
    paths: dict[str, str] = {}
    for node in graph.nodes:
        for key, (path, _) in (node.meta.get("nn_module_stack") or {}).items():
            if node.op == "call_function":
                inside.setdefault(key, set()).add(node)
                paths[key] = path
    calls: dict[str, list[fx.Node | None]] = {}
    for key, nodes in inside.items():
        tensors = [node for node in nodes if isinstance(node.meta.get("val"), Tensor)]
        given = [node for node in tensors if any(user not in nodes for user in node.users)]
        calls.setdefault(paths[key], []).append(given[0] if len(given) == 1 else None)
    return calls
