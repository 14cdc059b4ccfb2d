"""From a multi-exit model to the ONNX files of its segments: exported once as a whole, then cut.

One export means one set of constants, folded once: segments, and any fused or quantised variant of the same
graph, agree with each other exactly.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from onnx.utils import Extractor
from torch import Tensor, nn

from serving.bundle import ROWS, TensorSpec
from training.models.graphs.free_batch import free_batch
from training.models.multi_exit import MultiExitModel

IMAGES = "images"
_DTYPES = {torch.uint8: "uint8", torch.float32: "float32"}
_SURVIVORS = "M"
_MAP_RANK = 4
_LINEAR = ("Gemm", "MatMul")
_AFTER_LINEAR = (
    *("Softmax", "Cast", "Add", "Gather", "Flatten", "Reshape", "Squeeze", "Identity"),
    *("LogSoftmax", "Log", "Max", "Mul"),  # exits that answer together
)


@dataclass(frozen=True)
class Boundary:
    """Inputs and outputs of one segment; the first output is the exit's probabilities."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class _Whole(nn.Module):
    """The whole net, which puts out all that crosses a boundary, in the order of the segments."""

    def __init__(self, model: MultiExitModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return each segment's probabilities [N, C] and features, images being uint8 [N, H, W, 3]."""
        features, outputs = self.model.normalise(images), []
        for index in range(self.model.exits):
            segment = self.model.segment(index)
            features = segment.body(features)
            # The softmax is part of the graph, in float32 whatever the rest is computed in.
            outputs.append(torch.softmax(segment.head(features).float(), dim=-1))
            if index + 1 < self.model.exits:
                outputs.extend(features)
        return tuple(outputs)


def boundaries(model: MultiExitModel) -> list[Boundary]:
    """Name, type and shape what each segment takes and gives.

    Args:
        model: on any device; its mode is left as it was.
    """
    size = model.image_size
    device = model.mean.device
    images = torch.zeros(2, size, size, 3, dtype=torch.uint8, device=device)
    inputs: tuple[TensorSpec, ...] = (_spec(IMAGES, images),)
    result = []
    was_training = model.training
    model.eval()
    with torch.no_grad():
        features = model.normalise(images)
        for number in range(1, model.exits + 1):
            logits, features = model.segment(number - 1)(features)
            outputs = [_spec(f"probabilities_{number}", logits.float())]
            if number < model.exits:
                outputs += [_spec(f"features_{number}_{part}", x) for part, x in enumerate(features, start=1)]
            result.append(Boundary(inputs, tuple(outputs)))
            inputs = tuple(outputs[1:])
    model.train(was_training)
    return result


def export_whole(model: MultiExitModel) -> onnx.ModelProto:
    """Export the whole net with named boundaries and a free batch size.

    Args:
        model: in float32 on the CPU; put in evaluation mode for the export, then back.
    """
    names = [spec.name for boundary in boundaries(model) for spec in boundary.outputs]
    was_training = model.training
    whole = _Whole(model).eval()
    images = torch.zeros(2, model.image_size, model.image_size, 3, dtype=torch.uint8)
    with torch.no_grad():
        program = torch.onnx.export(
            whole,
            (images,),
            dynamo=True,
            verbose=False,
            input_names=[IMAGES],
            output_names=names,
            dynamic_shapes=(free_batch(),),
        )
    model.train(was_training)
    if program is None:
        raise TypeError("torch.onnx.export was expected to return the program")
    graph: onnx.ModelProto = program.model_proto
    forget_origin(graph)
    return graph


def gathering(parts: Sequence[Boundary]) -> list[Boundary]:
    """Let every segment but the first take `rows`, int64 [M]: the rows of its features that survived."""
    rows = TensorSpec(name=ROWS, dtype="int64", shape=(None,))
    return [*parts[:1], *(Boundary((*part.inputs, rows), part.outputs) for part in parts[1:])]


def split_at_boundaries(whole: onnx.ModelProto, parts: Sequence[Boundary]) -> list[bytes]:
    """Cut a whole net at its boundaries and return the ONNX file of each segment.

    Args:
        whole: in float or quantised.
        parts: its boundaries; segments that take `rows` gather them before anything else.
    """
    return [_cut_one(whole, part).SerializeToString(deterministic=True) for part in parts]


def _cut_one(whole: onnx.ModelProto, part: Boundary) -> onnx.ModelProto:
    """Cut one segment.

    Features that pass a segment unchanged are one value under several names, and whatever reads them reads
    the first: the cut goes through that first name, which then becomes the name at this boundary. A batch
    size that is read off the images is read off the segment's own input instead, which has as many rows.
    """
    copied = {node.output[0]: node.input[0] for node in whole.graph.node if node.op_type == "Identity"}
    features = [spec.name for spec in part.inputs if spec.name != ROWS]
    gathers = len(features) < len(part.inputs)
    names: dict[str, str] = {}
    for feature in features:
        names.setdefault(_origin(feature, copied), feature)
    outputs = [spec.name for spec in part.outputs]
    segment: onnx.ModelProto = Extractor(whole).extract_model(list(names), outputs)
    read = {origin: f"{feature}_survivors" if gathers else feature for origin, feature in names.items()}
    for node in segment.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = read.get(name, name)
        if _reads_batch_size(node) and IMAGES not in names:
            node.input[0] = ROWS if gathers else features[0]
    for name in set(outputs) & names.keys():
        segment.graph.node.append(onnx.helper.make_node("Identity", [read[name]], [name]))
    del segment.graph.value_info[:]
    declared = {value.name: value for value in (*whole.graph.input, *whole.graph.output)}
    refill(segment.graph.input, [declared[name] for name in features])
    if not gathers and IMAGES not in names:
        _keep_blocked(segment.graph, [spec for spec in part.inputs if spec.name in names.values()])
    if gathers:
        _gather(segment.graph, {feature: read[origin] for origin, feature in names.items()})
    return segment


def _keep_blocked(graph: onnx.GraphProto, features: Sequence[TensorSpec]) -> None:
    """Let float feature maps enter through a pooling of 1 by 1, which changes nothing but their layout.

    ONNX Runtime computes float convolutions on CPUs in a blocked layout. Concatenations and additions stay in
    it where all they read is blocked, which convolutions and poolings put out, and inputs of a graph are not:
    without this, every layer that concatenates onto a feature leaves the blocked layout and enters it again.
    """
    readers = {spec.name: [node for node in graph.node if spec.name in node.input] for spec in features}
    pooled = {
        spec.name: f"{spec.name}_blocked"
        for spec in features
        if spec.dtype == "float32"
        and len(spec.shape) == _MAP_RANK
        and {"Conv"} < {node.op_type for node in readers[spec.name]}
    }
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = pooled.get(name, name)
    poolings = [
        onnx.helper.make_node("MaxPool", [name], [blocked], kernel_shape=[1, 1])
        for name, blocked in pooled.items()
    ]
    refill(graph.node, [*poolings, *graph.node])


def _gather(graph: onnx.GraphProto, survivors: Mapping[str, str]) -> None:
    """Take `rows`, and make of every feature the survivors that the rest of the segment reads."""
    gather = [
        onnx.helper.make_node("Gather", [feature, ROWS], [gathered], axis=0)
        for feature, gathered in survivors.items()
    ]
    refill(graph.node, [*gather, *graph.node])
    graph.input.append(onnx.helper.make_tensor_value_info(ROWS, onnx.TensorProto.INT64, [_SURVIVORS]))
    for value in graph.output:
        value.type.tensor_type.shape.dim[0].dim_param = _SURVIVORS


def answering(whole: onnx.ModelProto, parts: Sequence[Boundary]) -> list[onnx.NodeProto]:
    """Return the operators that stay in float32 at every precision, in the order of the graph.

    These are each exit's softmax, its last linear layer and what lies between them (other exits' answers,
    where they answer together): computed in fewer bits they tie so often that thresholds cannot cut between
    rows.
    """
    producers = {name: node for node in whole.graph.node for name in node.output}
    names: set[str] = set()
    waiting = [part.outputs[0].name for part in parts]
    while waiting:
        node = producers.get(waiting.pop())
        if node is None or node.op_type not in (*_AFTER_LINEAR, *_LINEAR) or node.output[0] in names:
            continue
        names.add(node.output[0])
        if node.op_type not in _LINEAR:
            waiting += node.input
    return [node for node in whole.graph.node if node.output[0] in names]


def between(whole: onnx.ModelProto, part: Boundary) -> list[onnx.NodeProto]:
    """Return the operators of one segment, in the order of the graph."""
    ends = {spec.name for spec in part.inputs}
    wanted = {spec.name for spec in part.outputs}
    found = []
    for node in reversed(whole.graph.node):
        if wanted.intersection(node.output):
            wanted |= set(node.input) - ends
            found.append(node)
    return found[::-1]


def refill(field: Any, values: Iterable[Any]) -> None:
    """Replace what a repeated field of a graph holds."""
    kept = list(values)
    del field[:]
    field.extend(kept)


def _reads_batch_size(node: onnx.NodeProto) -> bool:
    dimensions = {attribute.name: attribute.i for attribute in node.attribute}
    return node.op_type == "Shape" and node.input[0] == IMAGES and dimensions == {"start": 0, "end": 1}


def _origin(name: str, copied: Mapping[str, str]) -> str:
    while name in copied:
        name = copied[name]
    return name


def forget_origin(whole: onnx.ModelProto) -> None:
    """Drop the exporter's notes: stack traces, which name folders of this machine, and inner shapes."""
    del whole.metadata_props[:]
    for part in _annotated(whole):
        del part.metadata_props[:]
        part.doc_string = ""
    del whole.graph.value_info[:]


def _annotated(
    whole: onnx.ModelProto,
) -> Iterator[onnx.GraphProto | onnx.NodeProto | onnx.ValueInfoProto | onnx.TensorProto]:
    yield whole.graph
    yield from whole.graph.node
    yield from whole.graph.input
    yield from whole.graph.output
    yield from whole.graph.initializer


def _spec(name: str, values: Tensor) -> TensorSpec:
    return TensorSpec.model_validate(
        {"name": name, "dtype": _DTYPES[values.dtype], "shape": (None, *values.shape[1:])}
    )
