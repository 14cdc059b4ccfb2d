"""Features of a quantised net as they are computed, uint8: a quarter of the bytes, and not one operator more.

A quantised net turns a feature to uint8 (QuantizeLinear) and back to float (DequantizeLinear) wherever it is
read. Where the boundary lies between the two, the segment before ends in uint8, and the one after starts from
the same numbers: the segments compute exactly what the whole net does.
"""

import copy
from collections.abc import Sequence

import onnx

from serving.bundle import TensorSpec
from training.exporting.graph import Boundary

TO_BYTES = "QuantizeLinear"
TO_FLOAT = "DequantizeLinear"


def byte_features(
    whole: onnx.ModelProto, parts: Sequence[Boundary]
) -> tuple[onnx.ModelProto, list[Boundary]]:
    """Move the boundaries of a quantised net to where its features are uint8.

    Features that something reads in float stay float.

    Args:
        whole: quantised, with float features.
        parts: its boundaries.

    Returns:
        The net with the same names at the boundaries, and the boundaries with the types they have now.
    """
    whole = copy.deepcopy(whole)
    features = {spec.name for part in parts for spec in part.outputs[1:]}
    in_bytes, renamed = _moved(whole, features)
    for node in whole.graph.node:
        # A feature that a segment passes on untouched is a copy, of what the boundary before it holds now.
        copies = node.op_type == "Identity" and node.output[0] in features
        if copies and node.input[0] in in_bytes:
            in_bytes.add(node.output[0])
        for names in (node.output,) if copies else (node.input, node.output):
            for place, name in enumerate(names):
                names[place] = renamed.get(name, name)
    for value in whole.graph.output:
        if value.name in in_bytes:
            value.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    return whole, [_typed(part, in_bytes) for part in parts]


def _moved(whole: onnx.ModelProto, features: set[str]) -> tuple[set[str], dict[str, str]]:
    """Return which features are bytes, and the new names of values around those that are quantised."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in whole.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    producers = {name: node for node in whole.graph.node for name in node.output}
    in_bytes, renamed = set(), {}
    for feature in features:
        back = producers[feature]
        there = producers.get(back.input[0]) if back.op_type == TO_FLOAT else None
        if there is None or there.op_type != TO_BYTES:
            continue
        renamed[feature] = f"{feature}_float"
        if readers[there.input[0]] == [there]:
            renamed[there.output[0]] = feature
            in_bytes.add(feature)
        else:
            renamed[there.input[0]] = feature
    return in_bytes, renamed


def _typed(part: Boundary, in_bytes: set[str]) -> Boundary:
    def typed(spec: TensorSpec) -> TensorSpec:
        return spec.model_copy(update={"dtype": "uint8"}) if spec.name in in_bytes else spec

    return Boundary(tuple(map(typed, part.inputs)), tuple(map(typed, part.outputs)))
