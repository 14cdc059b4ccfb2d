"""Optimisers of ONNX Runtime that end the process on some graphs."""

from collections.abc import Iterator

import onnx

_NCHWC = "NchwcTransformer"


def fatal_optimizers(model: bytes) -> list[str]:
    """Name the optimisers that a session on a graph has to do without.

    On x86 the one for convolutions in blocked layout ends the process, by a segmentation fault, where a
    tensor in float16 is multiplied after a dimension of 1 was transposed: ONNX Runtime has put a cast to
    float32 between the two by then (github.com/microsoft/onnxruntime/issues/28392). The attention of a ViT
    is such a graph. Any transposition counts here: shapes inside a graph are not known before it is loaded.

    Args:
        model: the bytes of the ONNX file.
    """
    # Parsing copies the weights, so graphs without a product of matrices are told by a look.
    if b"Transpose" not in model or b"MatMul" not in model:
        return []
    try:
        graph = onnx.load_from_string(model).graph
    except Exception:  # whatever it is, ONNX Runtime says it better
        return []
    return [_NCHWC] if onnx.TensorProto.FLOAT16 in _types(graph) else []


def _types(graph: onnx.GraphProto) -> Iterator[int]:
    """The types that numbers have where they come into a graph, or are cast to."""
    yield from (tensor.data_type for tensor in graph.initializer)
    yield from (value.type.tensor_type.elem_type for value in graph.input)
    for node in graph.node:
        yield from (
            attribute.i for attribute in node.attribute if node.op_type == "Cast" and attribute.name == "to"
        )
