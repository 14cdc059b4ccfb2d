"""A model as plain data, from which it can be built again without the code that made it.

Each body and each head is exported by torch.export, in evaluation mode and with a free batch, and its graph
of ATen operators is written out as names and numbers. Reading it back resolves operators by their names in
`torch.ops.aten` and in a short list of functions on numbers, and nothing else: a file cannot name code of its
own, as a pickle can. Weights are not part of it, but for constants that no checkpoint holds.
"""

import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from training.errors import ConfigError
from training.models.graphs.failing_line import first_line
from training.models.graphs.free_batch import free_batch
from training.models.multi_exit import MultiExitModel, Segment

_ATEN = "aten."
_NUMBERS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        *(operator.add, operator.sub, operator.mul, operator.floordiv, operator.truediv, operator.mod),
        *(operator.neg, operator.getitem, operator.eq, operator.ne, operator.lt, operator.le, operator.gt),
        *(operator.ge, torch.sym_int, torch.sym_float, torch.sym_max, torch.sym_min),
    )
}
_NODE = "node"


def stored(model: MultiExitModel) -> dict[str, Any]:
    """Return a model's graphs as values that `torch.load` reads with `weights_only`.

    Args:
        model: on any device; put in evaluation mode meanwhile.

    Raises:
        ConfigError: torch.export cannot follow a part of it.
    """
    was_training = model.training
    model.eval()
    images = torch.zeros(
        2, model.image_size, model.image_size, 3, dtype=torch.uint8, device=model.mean.device
    )
    segments = []
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            features = model.normalise(images)
            for index in range(model.exits):
                segment = model.segment(index)
                made = segment.body(features)
                segments.append(
                    {
                        "body": _part(segment.body, features),
                        "head": _part(segment.head, made),
                        "read": segment.read,
                    }
                )
                features = made
    finally:
        model.train(was_training)
    return {"segments": segments, "image_size": model.image_size}


def restored(data: Mapping[str, Any]) -> MultiExitModel:
    """Build a model of its stored graphs, for evaluation and export; a checkpoint has its weights.

    Args:
        data: as `stored` returned it.

    Raises:
        ConfigError: it names something that is no operator.
    """
    segments = [
        Segment(_module(part["body"]), _module(part["head"]), int(part["read"])) for part in data["segments"]
    ]
    return MultiExitModel(segments, (0.5,) * 3, (0.25,) * 3, int(data["image_size"])).eval()


def _part(part: nn.Module, features: Sequence[Tensor]) -> dict[str, Any]:
    free = ([free_batch() for _ in features],)
    try:
        program = torch.export.export(_Listed(part), (list(features),), dynamic_shapes=free, strict=False)
    except Exception as error:  # whatever a foreign module raises, torch cannot export it
        raise ConfigError(f"torch.export cannot follow it: {first_line(error)}") from error
    module = program.module()
    holds = {name.removeprefix("part."): value for name, value in module.state_dict().items()}
    constants: dict[str, Tensor] = {}
    nodes: list[Any] = []
    for node in module.graph.nodes:
        if node.op == "call_module" or (node.op == "get_attr" and not node.users):
            continue  # guards on the input's shape
        target = _named(node)
        if node.op == "get_attr":
            target = target.removeprefix("part.")
            value = _attribute(module, str(node.target))
            if target not in holds and isinstance(value, Tensor):
                constants[target] = value.detach().cpu().clone()
        nodes.append([node.name, node.op, target, _encoded(node.args), _encoded(node.kwargs)])
    own = part.state_dict()
    trained = {name for name, _ in part.named_parameters()}
    return {
        "nodes": nodes,
        "weights": {name: [list(own[name].shape), own[name].dtype, name in trained] for name in own},
        "constants": constants | {name: value.cpu() for name, value in holds.items() if name not in own},
        "single": not isinstance(part(tuple(features)), tuple),
    }


class _Listed(nn.Module):
    """Takes features as a list, for which torch.export knows how to free each one's rows."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, features: list[Tensor]) -> Any:
        """Return what the part gives."""
        return self.part(tuple(features))


def _named(node: fx.Node) -> str:
    if isinstance(node.target, torch._ops.OpOverload):
        name = str(node.target)
        if name.startswith(_ATEN):
            return name
    elif node.op != "call_function":
        return str(node.target)
    elif (name := getattr(node.target, "__name__", "")) in _NUMBERS:
        return name
    raise ConfigError(f"its graph calls {node.target}, which is no operator of torch's own")


def _encoded(value: Any) -> Any:
    if isinstance(value, fx.Node):
        return {_NODE: value.name}
    if isinstance(value, Mapping):
        return {key: _encoded(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_encoded(inner) for inner in value]
    if isinstance(value, torch.memory_format | torch.layout):
        return {"torch": str(value).removeprefix("torch.")}
    if isinstance(value, torch.device):
        return {"device": "cpu"}
    return value


def _module(data: Mapping[str, Any]) -> nn.Module:
    holder = nn.Module()
    for path, (shape, dtype, trained) in data["weights"].items():
        empty = torch.zeros(shape, dtype=dtype)
        _put(holder, path, nn.Parameter(empty, requires_grad=False) if trained else empty, persistent=True)
    for path, value in data["constants"].items():
        _put(holder, path, value, persistent=False)
    graph = fx.Graph()
    features = graph.placeholder("features")
    made: dict[str, fx.Node] = {}
    for name, kind, target, args, kwargs in data["nodes"]:
        if kind == "placeholder":
            taken = sum(1 for node in made.values() if node.meta.get("input"))
            made[name] = graph.call_function(operator.getitem, (features, taken))
            made[name].meta["input"] = True
        elif kind == "get_attr":
            made[name] = graph.get_attr(target)
        elif kind == "output":
            (answers,) = _decoded(args, made)
            graph.output(answers[0] if data["single"] else tuple(answers))
        else:
            made[name] = graph.call_function(
                _operator(target), tuple(_decoded(args, made)), _decoded(kwargs, made)
            )
    module = fx.GraphModule(holder, graph)  # takes from the holder what the graph reads
    held = module.state_dict().keys()
    for path in data["weights"].keys() - held:
        _put(module, path, _attribute(holder, path), persistent=True)
    return module


def _operator(name: str) -> Callable[..., Any]:
    if name in _NUMBERS:
        return _NUMBERS[name]
    packet, _, overload = name.removeprefix(_ATEN).partition(".")
    found = getattr(getattr(torch.ops.aten, packet, None), overload, None) if name.startswith(_ATEN) else None
    if not isinstance(found, torch._ops.OpOverload):
        raise ConfigError(f"a stored graph calls {name!r}; expected an operator of torch's own")
    function: Callable[..., Any] = found
    return function


def _decoded(value: Any, made: Mapping[str, fx.Node]) -> Any:
    if isinstance(value, list):
        return [_decoded(inner, made) for inner in value]
    if not isinstance(value, Mapping):
        return value
    if value.keys() == {_NODE}:
        return made[value[_NODE]]
    if value.keys() == {"torch"}:
        return getattr(torch, value["torch"])
    if value.keys() == {"device"}:
        return torch.device(value["device"])
    return {key: _decoded(inner, made) for key, inner in value.items()}


def _attribute(module: nn.Module, path: str) -> Any:
    owner, _, name = path.rpartition(".")
    return getattr(module.get_submodule(owner), name)


def _put(holder: nn.Module, path: str, value: Tensor, *, persistent: bool) -> None:
    *owners, name = path.split(".")
    for owner in owners:
        if not hasattr(holder, owner):
            holder.add_module(owner, nn.Module())
        holder = holder.get_submodule(owner)
    if isinstance(value, nn.Parameter):
        holder.register_parameter(name, value)
    else:
        holder.register_buffer(name, value, persistent)
