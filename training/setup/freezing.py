"""Layers that keep what they have learned: their parameters get no gradient, their BatchNorm no new images.

A frozen layer runs in evaluation mode, in training too: BatchNorm by its running statistics, which do not
change by a bit, dropout not at all.
"""

from collections.abc import Iterator, Sequence

from torch import fx, nn

from training.errors import ConfigError
from training.models.multi_exit import MultiExitModel, Segment
from training.models.reach import row_reach, whole_reach

NONE, BACKBONE, UNTIL, EXIT = "none", "backbone", "until:", "exit"
EXPECTED = (
    "none, backbone (all but the heads of early exits), until:exitN (what comes before exit N) or "
    "until:LAYER (of a network that is cut at --exits, all up to that layer)"
)


def freeze_layers(model: MultiExitModel, wanted: str) -> None:
    """Freeze a part of a model.

    Args:
        model: changed in place.
        wanted: see `EXPECTED`.

    Raises:
        ConfigError: there is no such part.
    """
    if wanted == NONE:
        return
    modules = list(_part(model, wanted))
    for module in modules:
        module.requires_grad_(False)
    model.frozen = tuple(modules)


def check_learning(model: MultiExitModel, wanted: str) -> None:
    """Refuse a model that has nothing left to learn, or parameters that no exit would train.

    Args:
        model: frozen as it will be trained; on any device.
        wanted: how, for messages.

    Raises:
        ConfigError: with the exit or the parameter.
    """
    if all(parameter.requires_grad for parameter in model.parameters()):
        return
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not names:
        raise ConfigError(
            f"--freeze {wanted}: nothing is left to learn: all that the {model.exits} exits read is frozen"
        )
    split, model.feature_split = model.feature_split, False  # its rows change nothing about what is reached
    reached = whole_reach(row_reach(model))
    model.feature_split = split
    idle = [exit_index + 1 for exit_index, row in enumerate(reached) if not row.any()]
    if idle and idle != [model.exits]:
        raise ConfigError(
            f"--freeze {wanted}: exit {idle[0]} has nothing left to learn: all parameters that it needs are "
            "frozen; only the last exit may be"
        )
    unread = [name for name, column in zip(names, reached.T, strict=True) if not column.any()]
    if unread:
        raise ConfigError(
            f"--freeze {wanted}: parameter {unread[0]} gets a gradient from no exit: freeze it, or leave it "
            "out of the network"
        )


def _part(model: MultiExitModel, wanted: str) -> Iterator[nn.Module]:
    segments = [model.segment(index) for index in range(model.exits)]
    if wanted == BACKBONE:
        yield from (segment.body for segment in segments)
        yield segments[-1].head
        return
    place = wanted.removeprefix(UNTIL)
    if place == wanted or not place:
        raise ConfigError(f"--freeze {wanted}: expected {EXPECTED}")
    number = place.removeprefix(EXIT)
    if number != place and number.isdecimal():
        if not 1 <= int(number) <= model.exits:
            raise ConfigError(f"--freeze {wanted}: expected an exit from 1 to {model.exits}")
        yield from (segment.body for segment in segments[: int(number)])
        return
    yield from _until(segments, place, wanted)


def _until(segments: Sequence[Segment], layer: str, wanted: str) -> Iterator[nn.Module]:
    """Yield the layers of a traced network that run up to one, in the order in which they run."""
    graphs = [segment.body for segment in segments] + [segments[-1].head]
    called = [
        (graph, str(node.target))
        for graph in graphs
        if isinstance(graph, fx.GraphModule)
        for node in graph.graph.nodes
        if node.op == "call_module"
    ]
    last = max(
        (place for place, (_, path) in enumerate(called) if f"{path}.".startswith(f"{layer}.")), default=None
    )
    if last is None:
        tops = ", ".join(dict.fromkeys(path.partition(".")[0] for _, path in called))
        known = f"its layers are {tops}, and those inside" if tops else "it has no named layers: until:exitN"
        raise ConfigError(f"--freeze {wanted}: the model has no such layer; {known}")
    yield from (graph.get_submodule(path) for graph, path in called[: last + 1])
