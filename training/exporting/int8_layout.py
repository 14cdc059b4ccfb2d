"""Feature maps of an int8 net with their channels last, [N, H, W, C], as its convolutions compute them.

ONNX Runtime runs int8 convolutions channels last and moves the transpositions this takes to the edges of the
graph: there every map would be transposed when it is put out, and back when it is taken in. At a boundary
that is channels last itself both transpositions meet their opposite, and nothing is left to do.
"""

import copy
from collections.abc import Collection, Mapping, Sequence

import onnx

from serving.bundle import TensorSpec
from training.exporting.graph import Boundary, refill

_LAST, _BACK = (0, 2, 3, 1), (0, 3, 1, 2)


def channels_last(
    whole: onnx.ModelProto, parts: Sequence[Boundary], given: Collection[str] = ()
) -> tuple[onnx.ModelProto, list[Boundary]]:
    """Put the channels of every uint8 feature map [N, C, H, W] last, at the boundaries alone.

    Args:
        whole: quantised, with uint8 features.
        parts: its boundaries.
        given: features that were uint8 before anything was quantised (a cascade hands on its images): no
            maps.

    Returns:
        The net with the same names at the boundaries, and the boundaries with the shapes they have now.
    """
    whole = copy.deepcopy(whole)
    maps = {
        spec.name: _turned(spec)
        for part in parts
        for spec in part.outputs[1:]
        if spec.dtype == "uint8" and len(spec.shape) == len(_LAST) and spec.name not in given
    }
    nodes: list[onnx.NodeProto] = []
    for node in whole.graph.node:
        # A feature that a segment passes on untouched is a copy of what crossed the boundary before.
        copies = node.op_type == "Identity" and node.output[0] in maps
        made = [] if copies else [name for name in node.output if name in maps]
        if not copies:
            _rename(node, maps)
        nodes.append(node)
        for name in made:
            nodes.append(onnx.helper.make_node("Transpose", [_planes(name)], [name], perm=_LAST))
            nodes.append(onnx.helper.make_node("Transpose", [name], [_read(name)], perm=_BACK))
    refill(whole.graph.node, nodes)
    for value in whole.graph.output:
        if value.name in maps:
            dimensions = copy.deepcopy(list(value.type.tensor_type.shape.dim))
            refill(value.type.tensor_type.shape.dim, [dimensions[place] for place in _LAST])
    return whole, [
        Boundary(
            tuple(maps.get(spec.name, spec) for spec in part.inputs),
            tuple(maps.get(spec.name, spec) for spec in part.outputs),
        )
        for part in parts
    ]


def _turned(spec: TensorSpec) -> TensorSpec:
    return spec.model_copy(update={"shape": tuple(spec.shape[place] for place in _LAST)})


def _planes(name: str) -> str:
    return f"{name}_planes"


def _read(name: str) -> str:
    return f"{name}_planes_again"


def _rename(node: onnx.NodeProto, maps: Mapping[str, TensorSpec]) -> None:
    for place, name in enumerate(node.input):
        node.input[place] = _read(name) if name in maps else name
    for place, name in enumerate(node.output):
        node.output[place] = _planes(name) if name in maps else name
