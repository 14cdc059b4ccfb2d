"""Read an unknown network as a graph: torch.fx's trace, made safe to cut anywhere.

Three things stand in the way of a cut, and are cleared here: operators that change a value in place (a cut
value has to stay what it was), sizes read from tensors (known, since images have one size: they become
constants), and code that reads `self.training` (one graph has to serve training and evaluation).
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.passes.fake_tensor_prop import FakeTensorProp
from torchvision.models.swin_transformer import ShiftedWindowAttention
from torchvision.ops import StochasticDepth

from training.errors import ConfigError
from training.models.plain_graph import make_modules_plain, make_steps_plain

BATCHES = (2, 3)
"""Two batch sizes: what differs between them depends on the batch."""

# Their code reads `self.training`; as one node each, they read it when they run.
_LEAVES = (StochasticDepth, ShiftedWindowAttention)
_ROOT = "net"


@dataclass(frozen=True)
class Trace:
    """A network as a graph.

    Args:
        name: of the network, for messages.
        net: holds the modules and parameters that the graph's nodes name.
        nodes: in the order they run; the first is the input [N, 3, H, W], the last the output.
        values: what each node gives, for either of `BATCHES`; tensors without data.
        calls: for each module's path, the node that each of its calls gives (None: not a single tensor).
    """

    name: str
    net: nn.Module
    nodes: tuple[fx.Node, ...]
    values: Mapping[fx.Node, tuple[Any, ...]]
    calls: Mapping[str, list[fx.Node | None]]


def trace(net: nn.Module, image_size: int, name: str) -> Trace:
    """Trace `net` for square images; its in-place operators become out-of-place ones.

    Args:
        net: maps float images [N, 3, H, W] to logits.
        image_size: height and width in pixels.
        name: of the network, for messages.

    Raises:
        ConfigError: torch.fx cannot follow the code, it depends on the mode, or it takes no such images.
    """
    make_modules_plain(net)
    graphs, calls = [], {}
    for mode in (True, False):
        tracer, root = _Tracer(), _Root(net).train(mode)
        try:
            graphs.append(tracer.trace(root))
        except (fx.proxy.TraceError, TypeError, RuntimeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"{name}: torch.fx cannot follow its forward ({error}); expected code whose path does not "
                "depend on the images' values"
            ) from error
        calls = tracer.calls
        for constant, value in vars(root).items():  # tensors that forward makes out of nothing
            if constant.startswith("_tensor_constant"):
                setattr(net, constant, value)
    net.train()
    if _signature(graphs[0]) != _signature(graphs[1]):
        raise ConfigError(
            f"{name}: its forward reads self.training; expected the same steps in training and evaluation "
            "(put them into modules such as nn.Dropout, and switch auxiliary outputs off)"
        )
    graph = graphs[1]
    make_steps_plain(graph)
    values = _values(net, graph, image_size, name)
    _inline_constants(graph, values)
    return Trace(name, net, tuple(graph.nodes), values, calls)


class _Root(nn.Module):
    """Calls the network with the images alone, so that its optional arguments keep their defaults."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Any:
        return self.net(images)


class _Tracer(fx.Tracer):
    """Notes which node each call of each module gives."""

    def __init__(self) -> None:
        super().__init__(param_shapes_constant=True)
        self.calls: dict[str, list[fx.Node | None]] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _LEAVES) or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        result = super().call_module(m, forward, args, kwargs)
        path = self.path_of_module(m).removeprefix(_ROOT).removeprefix(".")
        self.calls.setdefault(path, []).append(result.node if isinstance(result, fx.Proxy) else None)
        return result

    def create_node(self, kind: str, target: fx.node.Target, *args: Any, **kwargs: Any) -> fx.Node:
        if kind in ("call_module", "get_attr") and isinstance(target, str):
            target = target.removeprefix(f"{_ROOT}.")
        return super().create_node(kind, target, *args, **kwargs)


def _signature(graph: fx.Graph) -> list[tuple[str, str, str, str]]:
    return [(node.op, str(node.target), str(node.args), str(node.kwargs)) for node in graph.nodes]


def _values(net: nn.Module, graph: fx.Graph, image_size: int, name: str) -> dict[fx.Node, tuple[Any, ...]]:
    """Return what each node gives for either batch size, without computing it."""
    found: dict[fx.Node, list[Any]] = {node: [] for node in graph.nodes}
    module = fx.GraphModule(net, graph).eval()
    for batch in BATCHES:
        images = torch.zeros(batch, 3, image_size, image_size)
        try:
            with _without_log("torch._subclasses.fake_tensor"):
                FakeTensorProp(module, FakeTensorMode(allow_non_fake_inputs=True)).propagate(images)
        except (RuntimeError, ValueError, AssertionError, TypeError, IndexError) as error:
            raise ConfigError(
                f"{name} cannot take images of {image_size}×{image_size} pixels: "
                f"{(str(error) or 'a check failed').splitlines()[0]}; try another image_size"
            ) from error
        for node, copy in zip(graph.nodes, module.graph.nodes, strict=True):
            found[node].append(copy.meta.get("val"))
    net.train()
    return {node: tuple(values) for node, values in found.items()}


@contextmanager
def _without_log(name: str) -> Iterator[None]:
    """Keep a logger quiet: torch logs the traceback of an error that is one sentence here."""
    logger = logging.getLogger(name)
    was_disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was_disabled


def _inline_constants(graph: fx.Graph, values: Mapping[fx.Node, tuple[Any, ...]]) -> None:
    """Replace numbers that do not depend on the batch, such as the images' height, by what they are."""
    for node in graph.nodes:
        first, second = values[node]
        if isinstance(first, bool | int | float) and first == second:
            for reader in list(node.users):
                _replace(reader, node, first)
    for node in reversed(list(graph.nodes)):
        idle = not node.users and node.op not in ("output", "placeholder")
        passed = node.target is torch._assert and node.args[:1] == (True,)
        if idle and (passed or _is_number(values[node][0])):
            graph.erase_node(node)


def _replace(reader: fx.Node, node: fx.Node, constant: float) -> None:
    def put(argument: fx.Node) -> Any:
        return constant if argument is node else argument

    reader.args = fx.node.map_arg(reader.args, put)
    reader.kwargs = fx.node.map_arg(reader.kwargs, put)


def _is_number(value: object) -> bool:
    if isinstance(value, tuple):  # a shape
        return all(_is_number(part) for part in value)
    return isinstance(value, bool | int | float)
