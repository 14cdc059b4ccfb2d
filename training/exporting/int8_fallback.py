"""Layers of a quantised net that go back to float: which of them cost accuracy, and the net without them.

A layer is an operator that reads quantised values. In float it reads its inputs before they are quantised,
and its weights as they were trained; what others read stays quantised.
"""

import copy
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx

from serving.engine.providers import CPU
from serving.engine.sessions import open_session
from training.exporting.graph import IMAGES, refill
from training.exporting.int8 import Images, Quantised
from training.exporting.int8_features import TO_BYTES, TO_FLOAT

_WEIGHT_SUFFIX = ".weight"
_IN_FLOAT = "_in_float"


def quantised_layers(net: Quantised) -> list[str]:
    """Name the operators that read quantised values, in the order of the graph."""
    to_float = {node.output[0] for node in net.whole.graph.node if node.op_type == TO_FLOAT}
    return [
        node.name
        for node in net.whole.graph.node
        if node.op_type not in (TO_BYTES, TO_FLOAT, "Identity") and to_float & set(node.input)
    ]


def title(net: Quantised, layer: str) -> str:
    """Call a layer what its weights are called, or by its operator's name where it has none."""
    weights = {tensor.name for tensor in net.original.graph.initializer}
    node = next(node for node in net.original.graph.node if node.name == layer)
    named = (name for name in node.input if name in weights and name.endswith(_WEIGHT_SUFFIX))
    return next(named, layer).removeprefix("model.").removesuffix(_WEIGHT_SUFFIX)


def in_float(net: Quantised, layers: Collection[str]) -> onnx.ModelProto:
    """Return the quantised net with some of its layers in float.

    Args:
        net: quantised.
        layers: names of operators, of `quantised_layers`.
    """
    whole = copy.deepcopy(net.whole)
    originals = {node.name: node for node in net.original.graph.node}
    weights = {tensor.name: tensor for tensor in net.original.graph.initializer}
    unquantised = _restore_activations(whole, net.original)
    needed = {}
    for node in whole.graph.node:
        if node.name in layers:
            for place, name in enumerate(originals[node.name].input):
                node.input[place] = f"{name}{_IN_FLOAT}" if name in weights else unquantised.get(name, name)
                if name in weights:
                    needed[name] = weights[name]
    for name, tensor in needed.items():
        whole.graph.initializer.append(tensor)
        whole.graph.initializer[-1].name = f"{name}{_IN_FLOAT}"
    _drop_unread(whole)
    return whole


def damage(
    net: Quantised, answers: Sequence[str], batches: Iterable[Images], layers: Iterable[str]
) -> dict[str, float]:
    """Measure what quantising each layer alone does to answers.

    Args:
        net: quantised.
        answers: names of the probabilities that matter.
        batches: images, uint8 [n, H, W, 3] each.
        layers: those to measure, of `quantised_layers`; each costs a session and a run over the images.

    Returns:
        The mean change of a probability, of the answer that changes most, per layer.
    """
    images = list(batches)
    every = set(quantised_layers(net))
    expected = _answers(in_float(net, every), answers, images)
    result = {}
    for layer in layers:
        found = _answers(in_float(net, every - {layer}), answers, images)
        result[layer] = max(float(np.abs(was - now).mean()) for was, now in zip(expected, found, strict=True))
    return result


def _answers(
    whole: onnx.ModelProto, names: Sequence[str], images: Sequence[Images]
) -> list[npt.NDArray[np.float32]]:
    only = copy.deepcopy(whole)
    refill(only.graph.output, [value for value in only.graph.output if value.name in names])
    session = open_session(only.SerializeToString(), 0, [CPU])
    found = [session.run(list(names), {IMAGES: batch}) for batch in images]
    return [np.concatenate(rows) for rows in zip(*found, strict=True)]


def _restore_activations(whole: onnx.ModelProto, original: onnx.ModelProto) -> dict[str, str]:
    """Return what every quantised value is called before it is quantised.

    Quantising to uint8 does what a ReLU before it did, so the quantiser drops the ReLU: a value that is read
    in float needs it back.
    """
    producers = {name: node for node in whole.graph.node for name in node.output}
    before = {name: node for node in original.graph.node for name in node.output}
    outputs = {value.name for value in whole.graph.output}
    unquantised: dict[str, str] = {}
    restored: dict[str, onnx.NodeProto] = {}
    for node in whole.graph.node:
        there = producers.get(node.input[0]) if node.op_type == TO_FLOAT else None
        if there is None:
            continue
        source = there.input[0]
        name = node.output[0] if node.output[0] in outputs else source
        unquantised[name] = source
        producer, was = producers.get(source), before.get(name)
        if producer is not None and was is not None and producer.op_type != was.op_type:
            activation = copy.deepcopy(was)
            activation.input[0], activation.output[0] = source, f"{name}_activated"
            there.input[0] = unquantised[name] = activation.output[0]
            restored[source] = activation
    _insert_after(whole, restored)
    return unquantised


def _insert_after(whole: onnx.ModelProto, nodes: Mapping[str, onnx.NodeProto]) -> None:
    """Put each node right behind the producer of the value it is filed under."""

    def ordered() -> Iterator[onnx.NodeProto]:
        for node in whole.graph.node:
            yield node
            yield from (nodes[name] for name in node.output if name in nodes)

    refill(whole.graph.node, ordered())


def _drop_unread(whole: onnx.ModelProto) -> None:
    """Drop what no output depends on."""
    read = {value.name for value in whole.graph.output}
    kept = []
    for node in reversed(whole.graph.node):
        if read & set(node.output):
            read.update(node.input)
            kept.append(node)
    refill(whole.graph.node, reversed(kept))
    refill(whole.graph.initializer, [tensor for tensor in whole.graph.initializer if tensor.name in read])
