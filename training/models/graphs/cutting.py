"""Cut a traced network into segments at the outputs of named layers.

A cut is a moment in the order of execution: right after the named layer has given its output. Tensors
that are computed by then and read later cross the cut: the layer's output first, then all others alive (a
shortcut around it, an earlier branch). The last segment's head begins at the network's last layer with
parameters.
"""

import difflib
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from training.errors import ConfigError
from training.models.exit_head import ExitHead, readable
from training.models.graphs.tracing import BATCHES, Trace
from training.models.multi_exit import Segment

HeadMaker = Callable[[Sequence[int], int], nn.Module]
"""Makes a head of the shape of what it reads, batch included, and the number of classes."""

_LISTED = 40
_PARAMETERS = {nn.Parameter}


def split_at_layers(
    trace: Trace, layers: Sequence[str], classes: int, make_head: HeadMaker = ExitHead
) -> list[Segment]:
    """Return one segment per layer, in the order in which they run, and one for the network's own exit.

    Args:
        trace: of the network.
        layers: paths of modules, such as `layer1` or `features.3`, in any order.
        classes: the number of classes.
        make_head: makes the head of an early exit.

    Raises:
        ConfigError: a layer cannot be a cut, two are the same, or the network gives other logits.
    """
    order = {node: place for place, node in enumerate(trace.nodes)}
    _check_logits(trace, classes)
    exits = _in_order(trace, layers, order)
    places = [0, *(order[node] for node in exits)]
    segments = []
    inputs: list[fx.Node] = [trace.nodes[0]]
    for start, stop, node in zip(places, places[1:], exits, strict=False):
        outputs = _alive(trace, order, stop, node)
        body = _part(trace, start + 1, stop + 1, inputs, tuple(outputs))
        segments.append(Segment(body, make_head(trace.values[node][0].shape, classes)))
        inputs = outputs
    head = _classifier(trace)
    middle = _reads(trace, order, head - 1)
    logits = trace.nodes[-1].all_input_nodes[0]
    body = _part(trace, places[-1] + 1, head, inputs, tuple(middle))
    segments.append(Segment(body, _part(trace, head, len(trace.nodes) - 1, middle, logits)))
    return segments


def candidates(trace: Trace) -> list[str]:
    """Return the paths of all layers that can be a cut, in the order in which they run."""
    order = {node: place for place, node in enumerate(trace.nodes)}
    fit = [path for path in trace.calls if not _refusal(trace, order, path)]
    return sorted(fit, key=lambda path: (order[_output(trace, path)], path.count(".")))


def _output(trace: Trace, path: str) -> fx.Node:
    node = trace.calls[path][0]
    assert node is not None, "only asked of layers that give one tensor"  # noqa: S101 - for the type checker
    return node


def _in_order(trace: Trace, layers: Sequence[str], order: dict[fx.Node, int]) -> list[fx.Node]:
    """Return the nodes to cut after, in the order in which they run."""
    if not layers:
        raise ConfigError(f"{trace.name}: expected at least one layer in --exits; {_known(trace)}")
    chosen: dict[fx.Node, str] = {}
    for path in layers:
        reason = _refusal(trace, order, path)
        if reason:
            close = difflib.get_close_matches(path, candidates(trace), n=3)
            hint = f" (did you mean {' or '.join(close)}?)" if close and path not in trace.calls else ""
            raise ConfigError(
                f"{trace.name} cannot have an exit after {path!r}: {reason}{hint}; {_known(trace)}"
            )
        node = _output(trace, path)
        if node in chosen:
            same = "is named twice" if chosen[node] == path else f"gives the same output as {chosen[node]!r}"
            raise ConfigError(f"{trace.name}: expected every exit once, but {path!r} {same}; {_known(trace)}")
        chosen[node] = path
    return sorted(chosen, key=order.__getitem__)


def _known(trace: Trace) -> str:
    """List the layers that can be a cut, down to the depth at which the list stays readable."""
    names: dict[fx.Node, str] = {}
    for path in candidates(trace):  # of layers that give the same output, the outermost comes first
        names.setdefault(_output(trace, path), path)
    paths = list(names.values())
    depth = max((d for d in range(1, 9) if sum(p.count(".") < d for p in paths) <= _LISTED), default=1)
    listed = [path for path in paths if path.count(".") < depth][:_LISTED]
    more = f" and {len(paths) - len(listed)} inside these" if len(paths) > len(listed) else ""
    return f"it can have exits after: {', '.join(listed)}{more}"


def _refusal(trace: Trace, order: dict[fx.Node, int], path: str) -> str | None:
    """Return why `path` cannot be a cut, or None where it can."""
    calls = trace.calls.get(path)
    if not path or calls is None:
        exists = path and path in dict(trace.net.named_modules())
        return "forward does not call it" if exists else "there is no such layer"
    if len(calls) > 1:
        return f"forward calls it {len(calls)} times"
    node = calls[0]
    value = trace.values[node][0] if node in order else None
    if node is None or not isinstance(value, Tensor):
        return "it does not give a single tensor"
    if order[node] >= _classifier(trace):
        return "it belongs to the classifier, or comes after it"
    if order[node] == 0:
        return "nothing comes before it"
    if not readable(value.shape):
        return f"a head reads [N, C, H, W], [N, tokens, C] or [N, C] with H = W, found {_shape(value)}"
    if not any(order[user] > order[node] for user in node.users):
        return "nothing reads its output"
    for other in _reads(trace, order, order[node]):
        reason = _not_portable(other, trace.values[other])
        if reason:
            return reason
    return None


def _not_portable(node: fx.Node, values: Sequence[Any]) -> str | None:
    """Tell why a value cannot be handed from one segment's file to the next."""
    if not all(isinstance(value, Tensor) for value in values):
        return f"{node.name!r}, which is no tensor, would have to cross the cut"
    shapes = [tuple(value.shape) for value in values]
    if any(shape[:1] != (batch,) for shape, batch in zip(shapes, BATCHES, strict=True)):
        return f"{node.name!r} {_shape(values[0])}, whose rows are no images, would have to cross the cut"
    if values[0].dtype != torch.float32:
        return f"{node.name!r} would have to cross the cut: expected float32, found {values[0].dtype}"
    return None


def _shape(value: Tensor) -> str:
    sizes = [str(size) for size in value.shape]
    if sizes[:1] == [str(BATCHES[0])]:
        sizes[0] = "N"
    return f"[{', '.join(sizes)}]"


def _check_logits(trace: Trace, classes: int) -> None:
    value = trace.values[trace.nodes[-1]][0]
    if not isinstance(value, Tensor) or tuple(value.shape) != (BATCHES[0], classes):
        found = _shape(value) if isinstance(value, Tensor) else type(value).__name__
        raise ConfigError(f"{trace.name}: expected logits [N, {classes}], found {found}")


def _classifier(trace: Trace) -> int:
    """Return the place of the last layer that has parameters; without one, of the network's output."""
    for place in range(len(trace.nodes) - 1, 0, -1):
        node = trace.nodes[place]
        if _has_parameters(trace, node):
            return place
    return len(trace.nodes) - 1


def _has_parameters(trace: Trace, node: fx.Node) -> bool:
    if node.op == "call_module":
        return any(True for _ in trace.net.get_submodule(str(node.target)).parameters())
    read = [str(other.target) for other in node.all_input_nodes if other.op == "get_attr"]
    return bool(_PARAMETERS.intersection(type(_attribute(trace.net, path)) for path in read))


def _attribute(net: nn.Module, path: str) -> object:
    module, _, name = path.rpartition(".")
    return getattr(net.get_submodule(module), name)


def _alive(trace: Trace, order: dict[fx.Node, int], place: int, first: fx.Node) -> list[fx.Node]:
    return [first, *(node for node in _reads(trace, order, place) if node is not first)]


def _reads(trace: Trace, order: dict[fx.Node, int], place: int) -> list[fx.Node]:
    """Return what was computed up to `place` and is read after it, but for what can be had anew there."""
    return [
        node
        for node in trace.nodes[: place + 1]
        if any(order[user] > place for user in node.users)
        and node.op != "get_attr"
        and not _follows_from_batch(trace, node)
    ]


def _follows_from_batch(trace: Trace, node: fx.Node) -> bool:
    """Say whether a value is a number that follows from the number of images alone."""
    values = trace.values[node]
    if _is_batch_size(values):
        return True
    numbers = all(isinstance(value, int) for value in values)
    return (
        numbers
        and bool(node.all_input_nodes)
        and all(_follows_from_batch(trace, read) for read in node.all_input_nodes)
    )


def _is_batch_size(values: Sequence[Any]) -> bool:
    return all(isinstance(v, int) and v == batch for v, batch in zip(values, BATCHES, strict=True))


def _part(
    trace: Trace, start: int, stop: int, inputs: Sequence[fx.Node], outputs: tuple[fx.Node, ...] | fx.Node
) -> fx.GraphModule:
    """Return the nodes from `start` to `stop` as a module that maps a tuple of features to `outputs`."""
    graph = fx.Graph()
    features = graph.placeholder("features")
    copies = {
        node: graph.call_function(operator.getitem, (features, place)) for place, node in enumerate(inputs)
    }

    def copy_of(node: fx.Node) -> fx.Node:
        if node not in copies and node.op == "get_attr":
            copies[node] = graph.node_copy(node)
        elif node not in copies and _is_batch_size(trace.values[node]):
            copies[node] = graph.call_method("size", (copies[inputs[0]], 0))
        elif node not in copies:  # it follows from the batch size: what else is read is among the inputs
            copies[node] = graph.node_copy(node, copy_of)
        return copies[node]

    for node in trace.nodes[start:stop]:
        if node.op != "get_attr":
            copies[node] = graph.node_copy(node, copy_of)
    graph.output(fx.node.map_arg(outputs, copy_of))
    return fx.GraphModule(trace.net, graph)
