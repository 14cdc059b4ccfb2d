"""Where a network can be cut: single tensors that every path from the images to the answer goes through.

A tensor t is one where as many paths lead from the images through t as there are in all:
paths(images → t) · paths(t → answer) = paths(images → answer). The numbers grow exponentially with depth
(DenseNet), so they are compared modulo the prime 2⁶¹ − 1.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from training.adopting.network.network import Network
from training.errors import AdoptError

PRIME = 2**61 - 1

_BLIND = ("Shape", "Size")  # these depend on the number of images, and on nothing else of them
_WORKING = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "Attention")
_FLOATS = ("QuantizeLinear",)


@dataclass(frozen=True)
class Cut:
    """A place where a network can be cut.

    Args:
        tensor: what crosses.
        shape: of it, for one image, without the rows.
        flops: what leads there, for one image.
        share: of the network's FLOPs.
    """

    tensor: str
    shape: tuple[int, ...]
    flops: int
    share: float


def bottlenecks(model: onnx.ModelProto, start: str, end: str) -> list[str]:
    """Return the tensors between `start` and `end` that every path goes through, in graph order."""
    nodes = [node for node in model.graph.node if node.op_type not in _BLIND]
    there: defaultdict[str, int] = defaultdict(int, {start: 1})
    for node in nodes:
        paths = sum(there[name] for name in node.input if name) % PRIME
        for name in node.output:
            there[name] = paths
    back: defaultdict[str, int] = defaultdict(int, {end: 1})
    for node in reversed(nodes):
        paths = sum(back[name] for name in node.output if name) % PRIME
        for name in node.input:
            back[name] = (back[name] + paths) % PRIME
    every = there[end]
    return [
        name
        for node in nodes
        for name in node.output
        if name and name != end and there[name] and there[name] * back[name] % PRIME == every
    ]


def flops_before(model: onnx.ModelProto, node_flops: Sequence[int], tensors: Sequence[str]) -> dict[str, int]:
    """Return what each bottleneck costs: the operators that it depends on."""
    cost = {
        name: (place, node_flops[place])
        for place, node in enumerate(model.graph.node)
        for name in node.output
    }
    found: dict[str, int] = {}
    seen: set[int] = set()
    total = 0
    for tensor in tensors:  # in order: each depends on those before
        stack = [tensor]
        while stack:
            place, flops = cost.get(stack.pop(), (-1, 0))
            if place >= 0 and place not in seen:
                seen.add(place)
                total += flops
                stack.extend(model.graph.node[place].input)
        found[tensor] = total
    return found


def cuts(network: Network) -> list[Cut]:
    """Return the useful places to cut, from the images to the answer.

    Tensors with no convolution or matrix product between them say the same; of these the smallest is taken,
    of the smallest the last (behind the activation, not before it).

    Raises:
        AdoptError: there is none.
    """
    model = network.model
    tensors = [name for name in bottlenecks(model, network.image, network.output) if name in network.shapes]
    before = flops_before(model, network.node_flops, tensors)
    stages = _stages(model)
    in_bytes = {name for node in model.graph.node if node.op_type in _FLOATS for name in node.output}
    groups: dict[int, list[str]] = defaultdict(list)
    for name in tensors:
        if name not in in_bytes and before[name] and stages[name] < stages[network.output]:
            groups[stages[name]].append(name)
    chosen = [min(reversed(group), key=lambda name: _size(network.shapes, name)) for group in groups.values()]
    if not chosen:
        joins = [node.op_type for node in model.graph.node if len(node.input) > 1][-1:]
        raise AdoptError(
            f"{network.name}: no single tensor lies between its images and its answer (the last to join "
            f"several is {', '.join(joins) or 'none'}): it cannot be given exits"
        )
    return [
        Cut(name, network.shapes[name], before[name], before[name] / network.flops)
        for name in sorted(chosen, key=lambda name: before[name])
    ]


def _stages(model: onnx.ModelProto) -> dict[str, int]:
    """Return, for each tensor, the most convolutions and matrix products on a way to it."""
    found: defaultdict[str, int] = defaultdict(int)
    for node in model.graph.node:
        stage = max((found[name] for name in node.input if name), default=0)
        for name in node.output:
            found[name] = stage + (node.op_type in _WORKING)
    return found


def _size(shapes: Mapping[str, tuple[int, ...]], name: str) -> int:
    size = 1
    for length in shapes[name]:
        size *= length
    return size
