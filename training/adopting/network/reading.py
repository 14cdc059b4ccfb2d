"""From an ONNX file to a graph that can be worked on, or one sentence on why not."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx.checker
import onnx.inliner
import onnx.version_converter
from google.protobuf.message import DecodeError

from training.errors import AdoptError
from training.exporting.graph import forget_origin, refill

OPSET = 18
"""The oldest operator set that graphs are worked on in: Resize has antialiasing from here on."""

_MAX_BYTES = 2**31 - 1
_STANDARD = ("", "ai.onnx")
_CHOOSING = ("If", "Loop", "Scan")
_INTEGER = ("QLinear", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")
_PASSING_ON = ("Identity", "Reshape", "Flatten", "Squeeze", "Cast")
_ONE_BY_ONE = ("Sigmoid", "HardSigmoid")
_HALVES = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
_DECIDING = ("ArgMax", "TopK", "Hardmax")
_WEIGHTS_APART = 8  # versions before 4 took weights for inputs; 8 belongs to the operator set
_IR_VERSION = 10  # ONNX Runtime's releases lag behind the newest of onnx


@dataclass(frozen=True)
class Onnx:
    """An ONNX file as it was found.

    Args:
        name: the file's name without its ending.
        sha256: of the file, and of its external weights where it has any.
        model: all weights inside, no functions, only standard operators, at least in operator set `OPSET`.
        original: the file as it was, its weights inside; what the last exit is held against.
    """

    name: str
    sha256: str
    model: onnx.ModelProto
    original: bytes

    @property
    def image(self) -> onnx.ValueInfoProto:
        """Return the only input."""
        return inputs(self.model)[0]


def read_onnx(path: Path) -> Onnx:
    """Read a classifier's ONNX file.

    Raises:
        AdoptError: it is missing, broken or too large, or has something in it that cannot be cut.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AdoptError(f"{path}: expected an ONNX file, found none that can be read ({error})") from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise AdoptError(f"{path}: expected an ONNX file, found bytes that cannot be parsed") from error
    if not model.graph.node:
        raise AdoptError(f"{path}: expected an ONNX file, found one without operators")
    digest = hashlib.sha256(data)
    _take_in_weights(path, model, digest)
    return checked(path.name.removesuffix(".onnx"), model, digest.hexdigest())


def checked(name: str, model: onnx.ModelProto, sha256: str | None = None) -> Onnx:
    """Check a graph and bring it into the form that is worked on.

    Args:
        name: of the network, for messages.
        model: with all its weights inside.
        sha256: of where it comes from; of the graph itself where None.

    Raises:
        AdoptError: it has something in it that cannot be cut.
    """
    if model.ByteSize() > _MAX_BYTES:
        raise AdoptError(
            f"{name}: {model.ByteSize() / 2**30:.1f} GiB of weights; an ONNX file holds 2 at most"
        )
    original = model.SerializeToString(deterministic=True)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    _check_operators(name, model)
    _check_ends(name, model)
    _check_answer(name, model)
    model = _converted(name, model)
    forget_origin(model)
    model.ir_version = min(model.ir_version, _IR_VERSION)
    return Onnx(name, sha256 or hashlib.sha256(original).hexdigest(), model, original)


def inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Return the inputs that are no weights: old files list those too."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def opset(model: onnx.ModelProto) -> int:
    """Return the version of the standard operator set."""
    return max((entry.version for entry in model.opset_import if entry.domain in _STANDARD), default=1)


def converted(name: str, model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """Return the graph in a newer operator set.

    Raises:
        AdoptError: an operator of it has no newer form.
    """
    if opset(model) >= version:
        return model
    try:
        newer: onnx.ModelProto = onnx.version_converter.convert_version(model, version)
    except Exception as error:  # the converter raises what its adapters trip over
        raise AdoptError(
            f"{name}: its operator set {opset(model)} cannot be brought to {version} ({error}): export it "
            f"again with opset_version={version} or newer"
        ) from error
    return newer


def _converted(name: str, model: onnx.ModelProto) -> onnx.ModelProto:
    # The converter takes weights for weights only where they are no inputs as well.
    refill(model.graph.input, inputs(model))
    model.ir_version = max(model.ir_version, _WEIGHTS_APART)
    refill(model.opset_import, [entry for entry in model.opset_import if entry.domain in _STANDARD])
    return converted(name, model, OPSET)


def _take_in_weights(path: Path, model: onnx.ModelProto, digest: "hashlib._Hash") -> None:
    """Read external weights, from files beside the model only, into the model."""
    outside = [tensor for tensor in model.graph.initializer if tensor.data_location == tensor.EXTERNAL]
    if not outside:
        return
    try:
        onnx.checker.check_model(path)  # refuses files outside the model's folder
        onnx.load_external_data_for_model(model, str(path.parent))
    except Exception as error:  # onnx raises its own and the system's errors alike
        raise AdoptError(
            f"{path}: {len(outside)} weights lie in other files, which cannot be read ({error}); put them "
            "beside it"
        ) from error
    for tensor in outside:
        digest.update(tensor.raw_data)


def _check_operators(name: str, model: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)
    foreign = _some(f"{node.domain}.{node.op_type}" for node in nodes if node.domain not in _STANDARD)
    if foreign:
        raise AdoptError(
            f"{name}: operators that are no standard ones: {foreign}; give the file as it was before a "
            "runtime optimised it"
        )
    integer = _some(node.op_type for node in nodes if node.op_type.startswith(_INTEGER))
    if integer:
        raise AdoptError(
            f"{name}: already quantised with {integer}; give the float file and --precision int8, or a file "
            "in QDQ form"
        )
    choosing = _some(node.op_type for node in nodes if node.op_type in _CHOOSING)
    if choosing:
        raise AdoptError(
            f"{name}: {choosing} in the graph, which cannot be cut through: export it without control flow"
        )
    learning = _some(node.name or node.output[0] for node in nodes if _learns(node))
    if learning:
        raise AdoptError(
            f"{name}: exported in training mode ({learning}): call .eval() and export it again, or answers "
            "depend on the batch"
        )


def _learns(node: onnx.NodeProto) -> bool:
    if node.op_type != "BatchNormalization":
        return False
    flags = {attribute.name: attribute.i for attribute in node.attribute}
    return bool(flags.get("training_mode")) or len(node.output) > 1


def _check_ends(name: str, model: onnx.ModelProto) -> None:
    found = inputs(model)
    if len(found) != 1:
        raise AdoptError(
            f"{name}: expected one input, the images; found {len(found)} ({_some(v.name for v in found)})"
        )
    if len(model.graph.output) != 1:
        raise AdoptError(
            f"{name}: expected one output, the classes' logits or probabilities; found "
            f"{len(model.graph.output)} ({_some(v.name for v in model.graph.output)}): export it with the "
            "logits alone"
        )
    kind = found[0].type.tensor_type.elem_type
    halves = {kind, *(tensor.data_type for tensor in _constants(model)), *_cast_to(model)} & _HALVES
    if halves:
        raise AdoptError(
            f"{name}: in {_some(_type_name(half) for half in sorted(halves))}; give the float32 file, and "
            "--precision fp16 where the bundle should be in float16"
        )
    if kind not in (onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8):
        raise AdoptError(f"{name}: expected images as float32 or uint8; found {_type_name(kind)}")


def _check_answer(name: str, model: onnx.ModelProto) -> None:
    """Refuse networks whose answer is no choice among classes."""
    node = last_operator(model)
    if node is not None and node.op_type in _ONE_BY_ONE:
        raise AdoptError(
            f"{name}: it answers for each class by itself ({node.op_type}), as networks of several "
            "labels for one image do; expected logits or a softmax over classes of which one is right"
        )
    if node is not None and node.op_type in _DECIDING:
        raise AdoptError(
            f"{name}: it answers with the class alone ({node.op_type}), which does not say how sure it is: "
            "export it with the logits"
        )
    output = model.graph.output[0]
    kind = output.type.tensor_type.elem_type
    if kind not in (onnx.TensorProto.FLOAT, onnx.TensorProto.UNDEFINED):
        raise AdoptError(
            f"{name}: expected logits or probabilities as float32; found {output.name} as {_type_name(kind)}"
        )


def last_operator(model: onnx.ModelProto) -> onnx.NodeProto | None:
    """Return the operator whose values the output has, perhaps in another shape; None without one."""
    producers = {made: node for node in model.graph.node for made in node.output}
    node = producers.get(model.graph.output[0].name)
    while node is not None and node.op_type in _PASSING_ON:
        node = producers.get(node.input[0])
    return node


def is_quantised(model: onnx.ModelProto) -> bool:
    """Say whether a graph computes in integers between QuantizeLinear and DequantizeLinear (QDQ)."""
    return any(node.op_type == "QuantizeLinear" for node in model.graph.node)


def _constants(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from model.graph.initializer
    for node in model.graph.node:
        yield from (
            attribute.t for attribute in node.attribute if attribute.type == onnx.AttributeProto.TENSOR
        )


def _cast_to(model: onnx.ModelProto) -> Iterator[int]:
    """Yield the types that the graph casts to."""
    for node in model.graph.node:
        if node.op_type == "Cast":
            yield from (attribute.i for attribute in node.attribute if attribute.name == "to")


def _type_name(kind: int) -> str:
    return str(onnx.TensorProto.DataType.Name(kind)).lower()


def _some(names: Iterable[str], most: int = 5) -> str:
    return ", ".join(_first(dict.fromkeys(names), most))


def _first(names: dict[str, None], most: int) -> Iterator[str]:
    yield from list(names)[:most]
    if len(names) > most:
        yield f"{len(names) - most} more"
