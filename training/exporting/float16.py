"""A whole float net in float16, for GPUs: half the bytes, and their tensor cores.

The last linear layer and the softmax of every exit stay in float32: a probability in float16 has so few
values near 1 that thresholds cannot cut between rows.
"""

import copy
from collections.abc import Collection, Sequence

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

from serving.bundle import TensorSpec
from training.exporting.graph import Boundary, answering, forget_origin, refill


def halve(whole: onnx.ModelProto, parts: Sequence[Boundary]) -> tuple[onnx.ModelProto, list[Boundary]]:
    """Turn weights, activations and the features at the boundaries to float16.

    Args:
        whole: a float net, as `export_whole` makes it.
        parts: its boundaries.

    Returns:
        The net in float16 and its boundaries: `cut` them.
    """
    # The answers are taken off and put back on: the converter would lead them through float16.
    heads = answering(whole, parts)
    computed = {node.output[0] for node in heads}
    weights = {tensor.name for tensor in whole.graph.initializer}
    read = dict.fromkeys(
        name for node in heads for name in node.input if name and name not in weights | computed
    )
    body = copy.deepcopy(whole)
    refill(body.graph.node, [node for node in body.graph.node if node.output[0] not in computed])
    features = {value.name: value for value in body.graph.output if value.name not in computed}
    ends = [_untyped(name) for name in read if name not in features]
    refill(body.graph.output, [*features.values(), *ends])
    half: onnx.ModelProto = convert_float_to_float16(body)
    half.graph.node.extend(
        onnx.helper.make_node("Cast", [name], [f"{name}_float32"], to=onnx.TensorProto.FLOAT) for name in read
    )
    half.graph.node.extend(heads)
    for node in half.graph.node[-len(heads) :]:
        for place, name in enumerate(node.input):
            node.input[place] = f"{name}_float32" if name in read else name
    halved = {value.name: value for value in half.graph.output}
    refill(half.graph.output, [halved.get(value.name, value) for value in whole.graph.output])
    forget_origin(half)
    return half, [_typed(part, computed) for part in parts]


def _untyped(name: str) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)


def _typed(part: Boundary, answers: Collection[str]) -> Boundary:
    def typed(spec: TensorSpec) -> TensorSpec:
        kept = spec.dtype != "float32" or spec == part.outputs[0] or spec.name in answers
        return spec if kept else spec.model_copy(update={"dtype": "float16"})

    return Boundary(tuple(map(typed, part.inputs)), tuple(map(typed, part.outputs)))
