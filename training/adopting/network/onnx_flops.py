"""FLOPs of an ONNX graph in the convention of `training.models.flops`, operator by operator.

Both counters are held to each other in tests: a network of torchvision costs the same number, to the digit,
whether its torch module is counted or the ONNX file made of it. An operator of torch that ONNX writes as
several counts as the one:

- `x · σ(x)` and its like (SiLU, GELU, hard-swish: an activation of a map that multiplies the same map)
  count one per element;
- a one-dimensional constant added along the last axis is the bias of a linear layer, and counts one per
  element.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from math import prod
from typing import Any

import onnx
import onnx.shape_inference
from onnx import helper

from training.errors import AdoptError

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]


class Counted:
    """Facts about one operator, for the rules.

    Args:
        node: the operator.
        shapes: of every tensor that is known.
        graph: where the operator is from.
    """

    def __init__(self, node: onnx.NodeProto, shapes: Shapes, graph: "GraphFacts") -> None:
        self.node, self._shapes, self.graph = node, shapes, graph

    @property
    def output(self) -> Shape:
        """Shape of the first output."""
        return self._shapes[self.node.output[0]]

    def input(self, place: int) -> Shape:
        """Shape of an input.

        Raises:
            AdoptError: it is not known.
        """
        try:
            return self._shapes[self.node.input[place]]
        except KeyError as error:
            raise AdoptError(
                f"the shape of {error.args[0]!r}, which {self.node.op_type} reads, is not known: FLOPs "
                "cannot be counted"
            ) from error

    def attribute(self, name: str, default: Any = None) -> Any:
        """Value of an attribute."""
        found = [attribute for attribute in self.node.attribute if attribute.name == name]
        return helper.get_attribute_value(found[0]) if found else default


Rule = Callable[[Counted], int]


class GraphFacts:
    """The producers and the constants of a graph."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.producers = {name: node for node in model.graph.node for name in node.output}
        self.weights = {tensor.name: tensor for tensor in model.graph.initializer}

    def is_constant(self, name: str) -> bool:
        """Say whether a tensor does not depend on the images."""
        node = self.producers.get(name)
        if node is None:
            return name in self.weights
        return all(self.is_constant(read) for read in node.input if read)

    def gates_itself(self, node: onnx.NodeProto) -> bool:
        """Say whether a product is of a map and an activation of the same map."""
        return any(self._activated(gate, read) for gate, read in (tuple(node.input), tuple(node.input)[::-1]))

    def _activated(self, gate: str, read: str) -> bool:
        """Go up from `gate` through numbers' sums and products to an activation of `read`, if it is there."""
        source = self._source(read)
        producer, active = self.producers.get(gate), False
        while producer is not None:
            if producer.op_type in _GATES:
                active = True
            elif producer.op_type not in _SCALING:
                return False
            varying = [name for name in producer.input if name and not self.is_constant(name)]
            if len(varying) != 1:
                return False
            if active and self._source(varying[0]) == source:
                return True
            producer = self.producers.get(varying[0])
        return False

    def _source(self, name: str) -> str:
        """Return where a tensor comes from, products with single numbers left out: 0.5 · x is x."""
        node = self.producers.get(name)
        while node is not None and node.op_type in ("Mul", "Div", "Identity"):
            varying = [read for read in node.input if not self.is_constant(read)]
            if len(varying) != 1 or not self._are_numbers(set(node.input) - set(varying)):
                break
            name, node = varying[0], self.producers.get(varying[0])
        return name

    def _are_numbers(self, names: Collection[str]) -> bool:
        return all(name in self.weights and prod(self.weights[name].dims) == 1 for name in names)


def node_flops(model: onnx.ModelProto, fewer: Shapes, more: Shapes) -> list[int]:
    """Count each operator of a graph for one image.

    One image costs what it adds: operators whose work does not grow with the number of images compute
    constants, and tensors need not have a row for each image (attention folds its heads into the rows).

    Args:
        model: the graph.
        fewer: shapes of every tensor that is computed from the images, for some number of them.
        more: the same for one image more.

    Returns:
        FLOPs per operator, in the order of the graph.

    Raises:
        AdoptError: operators have no rule; all of them are named.
    """
    unknown = Counter(node.op_type for node in model.graph.node if node.op_type not in RULES)
    if unknown:
        listed = ", ".join(f"{name} ({count})" for name, count in sorted(unknown.items()))
        raise AdoptError(
            f"no FLOPs rule for the operators {listed}; add them to RULES in "
            "training/adopting/network/onnx_flops.py"
        )
    facts = GraphFacts(model)
    weights = {**_constant_shapes(model, more), **{name: tuple(w.dims) for name, w in facts.weights.items()}}
    before, after = ({**weights, **shapes} for shapes in (fewer, more))
    counts = []
    for node in model.graph.node:
        rule = RULES[node.op_type]
        varies = any(output in more for output in node.output)
        counts.append(rule(Counted(node, after, facts)) - rule(Counted(node, before, facts)) if varies else 0)
    return counts


def _constant_shapes(model: onnx.ModelProto, varying: Collection[str]) -> dict[str, Shape]:
    """Infer the shapes of what operators compute from weights alone, such as dequantised ones."""
    nodes = [node for node in model.graph.node if not any(output in varying for output in node.output)]
    if not nodes:
        return {}
    read = {name for node in nodes for name in node.input}
    small = [tensor for tensor in model.graph.initializer if tensor.name in read]
    outputs = [onnx.ValueInfoProto(name=name) for name in nodes[-1].output]
    graph = helper.make_graph(nodes, "constants", [], outputs, small)
    constants = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    inferred = onnx.shape_inference.infer_shapes(constants, data_prop=True).graph
    return {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*inferred.value_info, *inferred.output)
    }


def _free(_: Counted) -> int:
    return 0


def _per_element(op: Counted) -> int:
    return prod(op.output)


def _convolution(op: Counted) -> int:
    return prod(op.output) * prod(op.input(1)[1:])


def _transposed_convolution(op: Counted) -> int:
    return prod(op.input(0)) * prod(op.input(1)[1:])


def _linear(op: Counted) -> int:
    read = op.input(0)[0 if op.attribute("transA", 0) else -1]
    return prod(op.output) * (read + (1 if len(op.node.input) > 2 and op.node.input[2] else 0))


def _matrix_product(op: Counted) -> int:
    return prod(op.output) * op.input(0)[-1]


def _einsum(op: Counted) -> int:
    """Multiply-adds of a contraction: one for each value of all its indices."""
    equation = op.attribute("equation").decode().replace(" ", "")
    if "." in equation or len(op.node.input) > 2:
        raise AdoptError(f"no FLOPs rule for Einsum {equation!r}; export it as matrix products")
    sizes: dict[str, int] = {}
    for place, indices in enumerate(equation.partition("->")[0].split(",")):
        sizes.update(zip(indices, op.input(place), strict=True))
    return prod(sizes.values())


def _pool(op: Counted) -> int:
    return prod(op.output) * int(prod(op.attribute("kernel_shape")))


def _reduction(op: Counted) -> int:
    """Every input element falls into one window: k·k per output element adds up to the input's elements."""
    return max(prod(op.output), prod(op.input(0)))


def _product(op: Counted) -> int:
    if any(prod(op.input(place)) == 1 for place in (0, 1)) or op.graph.gates_itself(op.node):
        return 0
    return prod(op.output)


def _sum(op: Counted) -> int:
    for place in (0, 1):
        name, shape = op.node.input[place], op.input(place)
        if len(shape) == 1 and shape == op.output[-1:] and len(op.output) > 1 and op.graph.is_constant(name):
            return prod(op.output)
    return 0


def _clip(op: Counted) -> int:
    """ReLU6 and its like; a bound on one side alone is free, as torch's `clamp` is."""
    bounds = [name for name in op.node.input[1:] if name]
    return prod(op.output) if len(bounds) > 1 else 0


def _norm(op: Counted) -> int:
    return prod(op.input(0))


def _resize(op: Counted) -> int:
    """Multiply-adds of interpolation: a window of 2 (linear) or 4 (cubic), wider where it antialiases."""
    taps = {b"linear": 2, b"cubic": 4}.get(op.attribute("mode", b"nearest"), 0)
    wider = 1.0
    read, made = op.input(0), op.output
    total = float(prod(made))
    for before, after in zip(read, made, strict=True):
        if before != after:
            wider = max(1.0, before / after) if op.attribute("antialias", 0) else 1.0
            total *= taps * wider
    return round(total) if taps else 0


def _attention(op: Counted) -> int:
    query, key, value = (op.input(place) for place in range(3))
    heads = 1
    if len(query) == 3:
        heads = op.attribute("q_num_heads")
    width, value_width = query[-1] // heads, value[-1] // (op.attribute("kv_num_heads") or heads)
    rows = query[0] * query[-2] * (heads if len(query) == 3 else query[1])
    return int(rows * key[-2] * (width + value_width + 1))  # the softmax is the one


_GATES = ("Sigmoid", "HardSigmoid", "Erf", "Tanh", "Clip", "Softplus")
_SCALING = ("Mul", "Add", "Div", "Sub", "Identity", "Cast")

_NAMES: Sequence[tuple[Rule, tuple[str, ...]]] = [
    (_convolution, ("Conv",)),
    (_transposed_convolution, ("ConvTranspose",)),
    (_linear, ("Gemm",)),
    (_matrix_product, ("MatMul",)),
    (_einsum, ("Einsum",)),
    (_attention, ("Attention",)),
    (_pool, ("MaxPool", "AveragePool", "LpPool")),
    (_reduction, ("GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum")),
    (_norm, ("ReduceL2", "ReduceL1", "ReduceSumSquare", "ReduceLogSumExp")),
    (_per_element, ("Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "Gelu", "Swish")),
    (_per_element, ("Sigmoid", "HardSigmoid", "HardSwish", "Mish", "Tanh", "Erf", "Softplus", "Softsign")),
    (_per_element, ("Softmax", "LogSoftmax", "Exp", "Log", "Pow", "Sqrt", "Reciprocal", "Sin", "Cos")),
    (_clip, ("Clip",)),
    (_product, ("Mul", "Div")),
    (_sum, ("Add",)),
    (_resize, ("Resize", "Upsample")),
    (_free, ("BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization")),
    (_free, ("RMSNormalization", "MeanVarianceNormalization", "LpNormalization", "LRN")),
    (_free, ("Sub", "Neg", "Abs", "Sign", "Floor", "Ceil", "Round", "Mod", "Max", "Min", "Sum", "Mean")),
    (_free, ("Identity", "Cast", "CastLike", "Dropout", "Constant", "ConstantOfShape", "Range", "EyeLike")),
    (
        _free,
        ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Concat", "Split", "Slice", "Expand"),
    ),
    (
        _free,
        ("Gather", "GatherElements", "GatherND", "Scatter", "ScatterElements", "ScatterND", "Pad", "Tile"),
    ),
    (_free, ("Shape", "Size", "DepthToSpace", "SpaceToDepth", "Trilu", "CumSum", "ArgMax", "ArgMin", "TopK")),
    (
        _free,
        ("Where", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Xor", "Not"),
    ),
    (_free, ("IsNaN", "IsInf", "NonZero", "OneHot", "QuantizeLinear", "DequantizeLinear")),
    (_free, ("RandomNormal", "RandomUniform")),
]
RULES: dict[str, Rule] = {name: rule for rule, names in _NAMES for name in names}
"""The cost rule of every operator. An operator without a rule is an error, not a zero."""
