"""Whether an ONNX file is safe to hand to the engine, and keeps what the manifest promises of it.

External data lets a model file name any file of the machine (CVE-2022-25882, CVE-2024-27318): a bundle's
graphs must carry their own weights.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import onnx
from google.protobuf.message import DecodeError, Message

from serving.bundle.manifest import SegmentSpec, TensorSpec
from serving.errors import BundleError

_ONNX_TYPES: dict[int, str] = {
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.INT64: "int64",
}
_FILE_READING_OPERATORS = {"EPContext", "PythonOp"}
MAX_NODES = 20_000
"""The most operators of a graph, those of inner graphs and functions included."""
MAX_READERS = 2_000
"""The most operators that read one tensor: ONNX Runtime's time to load a graph grows with their square."""


def check_segment(data: bytes, spec: SegmentSpec) -> None:
    """Check that `data` is a self-contained ONNX model with exactly the inputs and outputs of `spec`.

    Raises:
        BundleError: not ONNX, weights outside the file, or other tensors than promised; names no bundle.
    """
    model = parse_model(data)
    check_size(model)
    check_self_contained(model)
    _check_tensors("inputs", model.graph.input, spec.inputs)
    _check_tensors("outputs", model.graph.output, spec.outputs)


def parse_model(data: bytes) -> onnx.ModelProto:
    """Parse an ONNX file.

    Weights that older exporters list among the inputs too, so that a caller may replace them, are taken from
    that list: they are never replaced here, and the tools for graphs take them for inputs.

    Raises:
        BundleError: the bytes are no ONNX model.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise BundleError("not an ONNX model: its bytes cannot be parsed; export it again") from error
    if not model.graph.node:
        raise BundleError("not an ONNX model: it has no operators; export it again")
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) < len(model.graph.input):
        del model.graph.input[:]
        model.graph.input.extend(inputs)
    return model


def check_size(model: onnx.ModelProto) -> None:
    """Refuse graphs that would take minutes to load, whatever they compute.

    Raises:
        BundleError: more than MAX_NODES operators, or more than MAX_READERS of one tensor.
    """
    nodes = [message for message in _messages(model) if isinstance(message, onnx.NodeProto)]
    if len(nodes) > MAX_NODES:
        raise BundleError(
            f"expected at most {MAX_NODES:,} operators, found {len(nodes):,}; export it with constant folding"
        )
    readers = Counter(name for node in nodes for name in node.input if name)
    name, most = max(readers.items(), key=lambda item: item[1], default=("", 0))
    if most > MAX_READERS:
        raise BundleError(
            f"expected at most {MAX_READERS:,} operators to read one tensor, found {most:,} for {name!r}"
        )


def check_self_contained(model: onnx.ModelProto) -> None:
    """Refuse weights or code outside the file, wherever they hide: sub-graphs, functions, attributes.

    Raises:
        BundleError: the model refers to something outside its own file.
    """
    for message in _messages(model):
        if isinstance(message, onnx.TensorProto):
            if message.data_location == onnx.TensorProto.EXTERNAL or message.external_data:
                raise BundleError(
                    f"the tensor {message.name!r} keeps its data in another file; "
                    "export with external_data=False, so that the file holds all its weights"
                )
        elif isinstance(message, onnx.NodeProto) and message.op_type in _FILE_READING_OPERATORS:
            raise BundleError(
                f"the operator {message.op_type} runs code or files outside the graph; remove it"
            )


def _messages(message: Message) -> Iterator[Message]:
    """Walk everything inside `message`, whatever field it is in; protobuf bounds the depth when parsing."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        children: Iterable[Message] = [value] if isinstance(value, Message) else value
        for child in children:
            yield from _messages(child)


def _check_tensors(kind: str, values: Sequence[onnx.ValueInfoProto], expected: Sequence[TensorSpec]) -> None:
    names = [value.name for value in values]
    if names != [spec.name for spec in expected]:
        raise BundleError(f"its {kind} are {names}; the manifest promises {[spec.name for spec in expected]}")
    for value, spec in zip(values, expected, strict=True):
        tensor = value.type.tensor_type
        dtype = _ONNX_TYPES.get(tensor.elem_type, onnx.TensorProto.DataType.Name(tensor.elem_type))
        shape = tuple(
            dimension.dim_value if dimension.HasField("dim_value") else None for dimension in tensor.shape.dim
        )
        if dtype != spec.dtype or shape != spec.shape:
            raise BundleError(
                f"{value.name!r} of its {kind} is {dtype} {list(shape)}; "
                f"the manifest promises {spec.dtype} {list(spec.shape)} (None is the batch)"
            )
