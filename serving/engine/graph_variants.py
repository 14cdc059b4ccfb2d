"""Other graphs of the same net, put together from a bundle's segments: without heads that are not needed.

The segments of a bundle share the names and values at their boundaries, so whole graphs can be composed from
them; inner names are kept apart, since another toolkit may use them twice.
"""

from collections.abc import Callable, Sequence

import onnx
from onnx.utils import Extractor

from serving.bundle.graph_checks import parse_model
from serving.bundle.manifest import ROWS, SegmentSpec
from serving.errors import OfframpError


class VariantError(OfframpError):
    """The graphs cannot be put together; the text says why."""

    title = "no variant"


def headless(segment: bytes, spec: SegmentSpec) -> bytes:
    """Cut a segment's head off: what is left puts out the features for the next segment alone.

    Args:
        segment: an ONNX file that was checked.
        spec: what the manifest says of it; not of the last one, which has no features.
    """
    inputs, features = [tensor.name for tensor in spec.inputs], [tensor.name for tensor in spec.outputs[1:]]
    return _extract(parse_model(segment), inputs, features)


def whole(segments: Sequence[bytes], specs: Sequence[SegmentSpec]) -> bytes:
    """Join all segments to one graph from the images to the last exit's probabilities; other heads fall away.

    Args:
        segments: ONNX files that were checked.
        specs: what the manifest says of them.

    Raises:
        VariantError: they differ in their operator sets, or have functions or inner graphs, whose names this
            does not follow.
    """
    parts = [parse_model(segment) for segment in segments]
    opsets = [sorted((opset.domain, opset.version) for opset in part.opset_import) for part in parts]
    if any(opset != opsets[0] for opset in opsets):
        raise VariantError("the segments use different versions of operators")
    joined = onnx.ModelProto()
    joined.CopyFrom(parts[0])
    joined.ir_version = max(part.ir_version for part in parts)
    del joined.graph.node[:], joined.graph.initializer[:], joined.graph.value_info[:], joined.graph.output[:]
    del joined.graph.quantization_annotation[:]
    for number, (part, spec) in enumerate(zip(parts, specs, strict=True)):
        _append(joined.graph, part, _renaming(number, spec, last=number == len(parts) - 1))
    joined.graph.output.append(parts[-1].graph.output[0])
    return _extract(joined, [value.name for value in joined.graph.input], [specs[-1].outputs[0].name])


def _renaming(number: int, spec: SegmentSpec, *, last: bool) -> Callable[[str], str]:
    """The names of a segment in the whole graph: features carry the segment that they come from."""
    kept = {tensor.name for tensor in spec.inputs if number == 0 or tensor.name == ROWS}
    if last:
        kept.add(spec.outputs[0].name)
    from_before = {tensor.name for tensor in spec.feature_inputs}

    def rename(name: str) -> str:
        if not name or name in kept:
            return name
        return f"{number - 1 if name in from_before else number}/{name}"

    return rename


def _append(graph: onnx.GraphProto, part: onnx.ModelProto, rename: Callable[[str], str]) -> None:
    inner = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    if part.functions or part.graph.sparse_initializer:
        raise VariantError("a segment has functions or sparse weights")
    present = {value.name for value in graph.input}
    graph.input.extend(v for v in part.graph.input if v.name == ROWS and ROWS not in present)
    for node in part.graph.node:
        if any(attribute.type in inner for attribute in node.attribute):
            raise VariantError(f"the operator {node.op_type} of a segment holds a graph of its own")
        copy = graph.node.add()
        copy.CopyFrom(node)
        copy.name = rename(node.name)
        copy.input[:] = map(rename, node.input)
        copy.output[:] = map(rename, node.output)
    for tensor in part.graph.initializer:
        weights = graph.initializer.add()
        weights.CopyFrom(tensor)
        weights.name = rename(tensor.name)


def _extract(model: onnx.ModelProto, inputs: list[str], outputs: list[str]) -> bytes:
    """Keep of a model what leads from some tensors to others."""
    return bytes(Extractor(model).extract_model(inputs, outputs).SerializeToString(deterministic=True))
