"""One graph of trained parts, which is then cut into segments as an exported model is (decision 4).

In a cascade every segment is a network of its own and the images, uint8, cross each boundary. In an adopted
network a single tensor crosses each of them, and a head reads it.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from serving.bundle import Preprocessing, TensorSpec
from training.adopting.network import reading
from training.adopting.network.batch import BATCH
from training.adopting.network.network import Network
from training.adopting.network.paths import Cut
from training.data.normalising import Normalisation
from training.exporting.graph import IMAGES, Boundary, refill
from training.models.flops import SegmentFlops

_TYPES = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}
_IR_VERSION = 10
_TAPS = {"linear": 2, "cubic": 4}
_RESIZING: dict[str, Literal["linear", "cubic"]] = {"bicubic": "cubic", "lanczos": "cubic"}


@dataclass(frozen=True)
class Member:
    """A network, what it is given, and how its classes are ordered.

    Args:
        network: the classifier.
        normalisation: what its pixels go through; nothing where it takes uint8.
        order: for each of the bundle's classes, its place in the network's output; None where they agree.
    """

    network: Network
    normalisation: Normalisation
    order: tuple[int, ...] | None = None


@dataclass
class Nodes:
    """Operators and weights that read one tensor and make another.

    Attributes:
        nodes: in order.
        weights: what they read besides.
        flops: what they cost for one image.
    """

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    flops: int = 0

    def add(self, operator: str, read: str, made: str, *weights: Any, **attributes: Any) -> str:
        """Append an operator that reads a tensor and weights (arrays; None leaves one out); return `made`."""
        names = [read]
        for place, values in enumerate(weights, start=1):
            names.append("" if values is None else f"{made}.{_WEIGHT_NAMES.get((operator, place), place)}")
            if values is not None:
                self.weights.append(numpy_helper.from_array(np.asarray(values), names[-1]))
        self.nodes.append(helper.make_node(operator, names, [made], name=made, **attributes))
        return made

    def join(self, read: Sequence[str], made: str) -> str:
        """Append the concatenation of tensors along their channels; return `made`."""
        self.nodes.append(helper.make_node("Concat", list(read), [made], name=made, axis=1))
        return made


_WEIGHT_NAMES = {
    ("Conv", 1): "weight",
    ("Conv", 2): "bias",
    ("Gemm", 1): "weight",
    ("Gemm", 2): "bias",
}


@dataclass(frozen=True)
class Exit:
    """An early exit of an adopted network: where it is, and the head that makes probabilities there.

    Args:
        cut: where.
        head: `head(read, made)` returns the operators between the two tensors.
    """

    cut: Cut
    head: "Head"


class Head:
    """The head of an exit."""

    def nodes(self, read: str, made: str) -> Nodes:
        """Return the operators from the tensor `read` to the probabilities `made`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Assembled:
    """A whole graph and where it is to be cut.

    Args:
        whole: every boundary's tensors are outputs of it.
        parts: its boundaries.
        flops: of each segment.
    """

    whole: onnx.ModelProto
    parts: list[Boundary]
    flops: list[SegmentFlops]


def cascade(members: Sequence[Member], spec: Preprocessing, classes: int) -> Assembled:
    """Make one graph of networks that answer one after the other.

    Args:
        members: from the cheapest to the dearest.
        spec: the images that the bundle takes; networks that take smaller ones resize them.
        classes: how many there are.
    """
    graph = _Graph(max(reading.opset(member.network.model) for member in members))
    images = TensorSpec(name=IMAGES, dtype="uint8", shape=(None, spec.height, spec.width, 3))
    parts, flops = [], []
    read = images
    for number, member in enumerate(members, start=1):
        last = number == len(members)
        cost = graph.add_network(member, IMAGES, f"model{number}", spec, f"probabilities_{number}")
        outputs = [_probabilities(number, classes)]
        if not last:
            following = images.model_copy(update={"name": f"features_{number}_1"})
            graph.nodes.append(helper.make_node("Identity", [IMAGES], [following.name]))
            outputs.append(following)
        parts.append(Boundary((read,), tuple(outputs)))
        flops.append(SegmentFlops(cost, 0))
        if not last:
            read = following
    return Assembled(graph.model(parts), parts, flops)


def adopted(member: Member, exits: Sequence[Exit], spec: Preprocessing) -> Assembled:
    """Make one graph of a network and heads on the way.

    Args:
        member: the network.
        exits: from the first to the last but the network's own.
        spec: the images that the bundle takes.
    """
    network = member.network
    graph = _Graph(reading.opset(network.model))
    renamed = {own.cut.tensor: f"features_{number}_1" for number, own in enumerate(exits, start=1)}
    read = TensorSpec(name=IMAGES, dtype="uint8", shape=(None, spec.height, spec.width, 3))
    graph.add_network(member, IMAGES, "model", spec, f"probabilities_{len(exits) + 1}", renamed)
    parts, flops, so_far = [], [], 0
    for number, own in enumerate(exits, start=1):
        features = TensorSpec(name=f"features_{number}_1", dtype="float32", shape=(None, *own.cut.shape))
        head = own.head.nodes(features.name, f"probabilities_{number}")
        graph.add(head)
        parts.append(Boundary((read,), (_probabilities(number, network.classes), features)))
        flops.append(SegmentFlops(own.cut.flops - so_far, head.flops))
        read, so_far = features, own.cut.flops
    parts.append(Boundary((read,), (_probabilities(len(exits) + 1, network.classes),)))
    flops.append(SegmentFlops(network.flops - so_far, 0))
    return Assembled(graph.model(parts), parts, flops)


def _probabilities(number: int, classes: int) -> TensorSpec:
    return TensorSpec(name=f"probabilities_{number}", dtype="float32", shape=(None, classes))


class _Graph:
    """A graph that grows by networks and heads.

    Args:
        opset: of the standard operators.
    """

    def __init__(self, opset: int) -> None:
        self._opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, more: Nodes) -> None:
        """Append operators and their weights."""
        self.nodes += more.nodes
        self.weights += more.weights

    def add_network(
        self,
        member: Member,
        read: str,
        prefix: str,
        spec: Preprocessing,
        answer: str,
        renamed: dict[str, str] | None = None,
    ) -> int:
        """Append a network that reads uint8 images and answers with probabilities; return its FLOPs.

        Args:
            member: the network.
            read: the tensor of the images.
            prefix: goes before every name of the network.
            spec: the size of these images.
            answer: the tensor of the probabilities.
            renamed: tensors of the network that get names of their own.
        """
        network = member.network
        names = {network.image: f"{prefix}.pixels", network.output: f"{prefix}.answer", **(renamed or {})}
        before = pixels(member, read, f"{prefix}.pixels", spec)
        self.add(before)
        self._copy(network, names, prefix, read)
        self.add(_answer(member, f"{prefix}.answer", answer))
        return network.flops + before.flops

    def _copy(self, network: Network, names: dict[str, str], prefix: str, images: str) -> None:
        model = reading.converted(network.name, copy.deepcopy(network.model), self._opset)

        def named(name: str) -> str:
            return name and names.get(name, f"{prefix}.{name}")

        for node in model.graph.node:
            counts = node.op_type == "Shape" and node.input[0] == network.image
            refill(node.input, [images] if counts else [named(name) for name in node.input])
            refill(node.output, [named(name) for name in node.output])
            node.name = f"{prefix}.{node.name}" if node.name else ""
            self.nodes.append(node)
        for tensor in model.graph.initializer:
            tensor.name = named(tensor.name)
            self.weights.append(tensor)

    def model(self, parts: Sequence[Boundary]) -> onnx.ModelProto:
        """Return the graph, whose outputs are what the segments put out."""
        graph = helper.make_graph(
            self.nodes,
            "whole",
            [_declared(spec) for spec in parts[0].inputs],
            [_declared(spec) for part in parts for spec in part.outputs],
            self.weights,
        )
        opsets = [helper.make_opsetid("", self._opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)


def pixels(member: Member, read: str, made: str, spec: Preprocessing) -> Nodes:
    """Return the operators from uint8 images [N, H, W, 3] to what a network takes."""
    network = member.network
    result = Nodes()
    channels_last = network.layout == "NHWC"
    resizes = (network.height, network.width) != (spec.height, spec.width)
    steps: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
    planes = not channels_last or resizes
    if planes:
        steps.append(("Transpose", (), {"perm": [0, 3, 1, 2]}))
    if network.dtype != "uint8" or resizes:
        steps.append(("Cast", (), {"to": TensorProto.FLOAT}))
    if resizes:
        steps.append(_resize(network, spec, result))
    if planes and channels_last:
        steps.append(("Transpose", (), {"perm": [0, 2, 3, 1]}))
    if network.dtype == "uint8":
        if resizes:
            steps += [("Round", (), {}), ("Clip", (np.float32(0), np.float32(255)), {})]
            steps.append(("Cast", (), {"to": TensorProto.UINT8}))
    else:
        steps += _normalise(member.normalisation, channels_last)
    if member.normalisation.bgr:
        steps.append(("Gather", (np.array([2, 1, 0]),), {"axis": 3 if channels_last else 1}))
    steps = steps or [("Identity", (), {})]
    for number, (operator, weights, attributes) in enumerate(steps, start=1):
        name = made if number == len(steps) else f"{made}.step{number}"
        read = result.add(operator, read, name, *weights, **attributes)
    return result


def _resize(
    network: Network, spec: Preprocessing, into: Nodes
) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    mode = _RESIZING.get(spec.filter, "linear")
    scales = spec.height / network.height, spec.width / network.width
    taps = [_TAPS[mode] * max(1.0, scale) if scale != 1 else 1.0 for scale in scales]
    into.flops += round(3 * network.height * network.width * taps[0] * taps[1])
    # Scales, not sizes: these need `axes`, which ONNX Runtime 1.31 drops when it moves a Transpose past it.
    factors = [1.0, 1.0, _factor(spec.height, network.height), _factor(spec.width, network.width)]
    # Weights beyond the edge are left out, as Pillow does, which preprocessing uses.
    attributes: dict[str, Any] = {"mode": mode, "antialias": 1, "exclude_outside": 1}
    if mode == "cubic":
        attributes["cubic_coeff_a"] = -0.5  # Pillow's, which preprocessing uses
    return "Resize", (None, np.array(factors, np.float32)), attributes


def _factor(before: int, after: int) -> np.float32:
    """Return the scale nearest to `after / before` that gives `after` pixels, which are rounded down."""
    factor = np.float32(after / before)
    while int(np.floor(np.float32(before) * factor)) < after:
        factor = np.nextafter(factor, np.float32(np.inf), dtype=np.float32)
    return factor


def _normalise(
    normalisation: Normalisation, channels_last: bool
) -> list[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    shape = (3,) if channels_last else (3, 1, 1)
    scale, offset = (
        np.array(values, np.float32).reshape(shape) for values in (normalisation.scale, normalisation.offset)
    )
    steps: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [("Mul", (scale,), {}), ("Add", (offset,), {})]
    return steps if np.any(offset) else steps[:1]


def _answer(member: Member, read: str, made: str) -> Nodes:
    """Return the operators from a network's output to probabilities in the bundle's order."""
    result = Nodes()
    if member.order is not None:
        read = result.add("Gather", read, f"{read}.ordered", np.array(member.order, np.int64), axis=1)
    if member.network.ends_in == "probabilities":
        result.add("Identity", read, made)
    else:
        result.add("Softmax", read, made, axis=-1)
    return result


def _declared(spec: TensorSpec) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(spec.name, _TYPES[spec.dtype], [BATCH, *spec.shape[1:]])
