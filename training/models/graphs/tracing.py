"""Read an unknown network as a graph: torch.fx's trace, made safe to cut anywhere.

Three things stand in the way of a cut, and are cleared here: operators that change a value in place (a cut
value has to stay what it was), sizes read from tensors (known, since images have one size: they become
constants), and code that reads `self.training` (one graph has to serve training and evaluation).

A network that stays in evaluation mode is read in that mode alone, which takes most code that reads
`self.training`. Where torch.fx cannot follow it, torch.export does (`training.models.graphs.export_trace`).
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.passes.fake_tensor_prop import FakeTensorProp
from torchvision.models.swin_transformer import ShiftedWindowAttention
from torchvision.ops import StochasticDepth

from training.errors import ConfigError
from training.models.graphs.failing_line import failing_line, first_line
from training.models.graphs.plain_graph import make_modules_plain, make_steps_plain

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


def trace(net: nn.Module, image_size: int, name: str, *, evaluation: bool = False) -> Trace:
    """Trace `net` for square images; its in-place operators become out-of-place ones.

    Args:
        net: maps float images [N, 3, H, W] to logits.
        image_size: height and width in pixels.
        name: of the network, for messages.
        evaluation: the network will only ever run in evaluation mode.

    Raises:
        ConfigError: torch.fx cannot follow the code, it depends on the mode, or it takes no such images.
    """
    make_modules_plain(net)
    graphs, calls = [], {}
    for mode in (False,) if evaluation else (True, False):
        tracer, root = _Tracer(), _Root(net).train(mode)
        try:
            graphs.append(tracer.trace(root))
        except Exception as error:  # a foreign forward raises what it likes
            raise ConfigError(_unreadable(name, tracer, error, evaluation=evaluation)) from error
        calls = tracer.calls
        for constant, value in vars(root).items():  # tensors that forward makes out of nothing
            if constant.startswith("_tensor_constant"):
                setattr(net, constant, value)
    net.train(not evaluation)
    if _signature(graphs[0]) != _signature(graphs[-1]):
        raise ConfigError(
            f"{name}: its forward reads self.training; expected the same steps in training and evaluation "
            "(put them into modules such as nn.Dropout, and switch auxiliary outputs off), or "
            "--model-option evaluation=true, which keeps the network in evaluation mode"
        )
    graph = graphs[-1]
    make_steps_plain(graph)
    return finished(name, net, graph, calls, image_size)


def finished(
    name: str, net: nn.Module, graph: fx.Graph, calls: Mapping[str, list[fx.Node | None]], image_size: int
) -> Trace:
    """Return the trace of a graph that only has plain steps; its mode is left as it was.

    Raises:
        ConfigError: it takes no such images.
    """
    values = _values(net, graph, image_size, name)
    _inline_constants(graph, values)
    nodes = list(graph.nodes)
    images = next(node for node in nodes if node.op == "placeholder")
    nodes.remove(images)
    return Trace(name, net, (images, *nodes), values, calls)


def _unreadable(name: str, tracer: "_Tracer", error: Exception, *, evaluation: bool) -> str:
    """Say where torch.fx stopped, and why."""
    where = failing_line(error)
    inside = f" in {tracer.inside[-1]}" if tracer.inside else ""
    reasons = {
        "values": "the code goes a way that depends on the images' values",
        "shapes": "the code goes a way that depends on a shape or a type, which torch.fx does not know",
        None: first_line(error),
    }
    hint = "" if evaluation else "; --model-option evaluation=true reads more networks, in evaluation mode"
    return f"{name}: torch.fx cannot follow its forward{inside}{where}: {reasons[tracer.decided_by]}{hint}"


class _Root(nn.Module):
    """Calls the network with the images alone, so that its optional arguments keep their defaults."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Any:
        return self.net(images)


class _Tracer(fx.Tracer):
    """Notes which node each call of each module gives, and where it stopped if it cannot go on.

    Attributes:
        calls: as in `Trace`.
        inside: the modules whose forward was being traced when it stopped, from the outside in.
        decided_by: what a branch would have had to know.
    """

    def __init__(self) -> None:
        super().__init__(param_shapes_constant=True)
        self.calls: dict[str, list[fx.Node | None]] = {}
        self.inside: list[str] = []
        self.decided_by: Literal["values", "shapes"] | None = None

    def to_bool(self, obj: fx.Proxy) -> bool:
        self.decided_by = "values" if _knows_values(obj.node) else "shapes"
        return super().to_bool(obj)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _LEAVES) or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        path = self.path_of_module(m).removeprefix(_ROOT).removeprefix(".")
        self.inside.append(f"{path or 'the network'} ({type(m).__name__})")
        result = super().call_module(m, forward, args, kwargs)
        self.inside.pop()
        self.calls.setdefault(path, []).append(result.node if isinstance(result, fx.Proxy) else None)
        return result

    def create_node(self, kind: str, target: fx.node.Target, *args: Any, **kwargs: Any) -> fx.Node:
        if kind in ("call_module", "get_attr") and isinstance(target, str):
            target = target.removeprefix(f"{_ROOT}.")
        return super().create_node(kind, target, *args, **kwargs)


_OF_SHAPES = (
    "shape",
    "ndim",
    "dtype",
    "device",
    "size",
    "dim",
    "stride",
    "numel",
    "is_cuda",
    "requires_grad",
)


def _knows_values(node: fx.Node) -> bool:
    """Say whether a result depends on more than the shapes of tensors."""
    if node.op == "placeholder" or node.op in ("call_module", "get_attr"):
        return True
    asks = node.args[1] if node.target is getattr and len(node.args) > 1 else node.target
    if asks in _OF_SHAPES or asks is len:
        return False
    return any(_knows_values(read) for read in node.all_input_nodes)


def _signature(graph: fx.Graph) -> list[tuple[str, str, str, str]]:
    return [(node.op, str(node.target), str(node.args), str(node.kwargs)) for node in graph.nodes]


def _values(net: nn.Module, graph: fx.Graph, image_size: int, name: str) -> dict[fx.Node, tuple[Any, ...]]:
    """Return what each node gives for either batch size, without computing it."""
    found: dict[fx.Node, list[Any]] = {node: [] for node in graph.nodes}
    was_training = net.training
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
    net.train(was_training)
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
