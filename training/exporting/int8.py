"""A whole float net in int8: ONNX Runtime's static quantisation, done once for all its segments.

Quantised are (U8S8) the activations per tensor as uint8 and the weights per output channel as int8. The last
linear layer and the softmax of every exit stay in float: quantised ones tie so often that thresholds cannot
cut between rows. Cut afterwards (`training.exporting.graph.cut`), the segments answer what the whole net
answers.
"""

import copy
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import QuantType
from onnxruntime.quantization.shape_inference import quant_pre_process

from training.exporting.graph import IMAGES, Boundary, answering, between, forget_origin, refill
from training.exporting.int8_features import TO_BYTES, TO_FLOAT, byte_features
from training.exporting.int8_layout import channels_last
from training.exporting.int8_ranges import share_ranges

Images = npt.NDArray[np.uint8]

_PIXELS = 1 << 18
"""Pixels of the images that ranges are taken of in one run: 5 images of 224 pixels, 256 of 32."""

OPERATORS = (
    *("Conv", "Gemm", "MatMul", "Add", "Mul", "Relu", "Clip", "LeakyRelu", "Sigmoid"),
    *("AveragePool", "GlobalAveragePool", "MaxPool", "Concat", "Split", "Slice", "Pad"),
    *("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"),
)
"""What ONNX Runtime computes in int8 on the CPU. Softmax and LayerNormalization among others would only be
wrapped: they cost a conversion there and back, and accuracy."""


@dataclass(frozen=True)
class Quantised:
    """A net in int8 beside the float net it came from; nodes have the same names in both.

    Args:
        whole: with QuantizeLinear and DequantizeLinear operators, and float features at the boundaries.
        original: the float net, as it was prepared.
    """

    whole: onnx.ModelProto
    original: onnx.ModelProto


def quantize(
    whole: onnx.ModelProto, parts: Sequence[Boundary], batches: Iterable[Images], *, reduce_range: bool
) -> tuple[onnx.ModelProto, list[Boundary]]:
    """Quantise a whole net and make its features uint8 where they can be.

    Args:
        whole: a float net, as `export_whole` makes it.
        parts: its boundaries.
        batches: training images, uint8 [n, H, W, 3] each, as they will be served: of these the ranges are
            taken that uint8 has to cover.
        reduce_range: see `insert_quantizers`.

    Returns:
        The int8 net and its boundaries: `cut` them.
    """
    net = insert_quantizers(whole, parts, batches, reduce_range=reduce_range)
    return cuttable(net.whole, parts)


def cuttable(quantised: onnx.ModelProto, parts: Sequence[Boundary]) -> tuple[onnx.ModelProto, list[Boundary]]:
    """Make the features of a quantised net what they are computed as: uint8, their channels last."""
    given = {spec.name for part in parts for spec in part.outputs[1:] if spec.dtype == "uint8"}
    return channels_last(*byte_features(quantised, parts), given)


def insert_quantizers(
    whole: onnx.ModelProto,
    parts: Sequence[Boundary],
    batches: Iterable[Images],
    *,
    reduce_range: bool,
    float_segments: Collection[int] = (),
) -> Quantised:
    """Quantise a whole net; its features stay float.

    Args:
        whole: a float net, as `export_whole` makes it.
        parts: its boundaries.
        batches: training images, uint8 [n, H, W, 3] each, as they will be served.
        reduce_range: weights of 7 bits. CPUs without VNNI add two products in 16 bits, and those of full
            weights may not fit.
        float_segments: numbers of segments, from 1, that are left as they are.
    """
    original = _prepared(whole)
    ranges = share_ranges(_ranges(original, batches), original.graph)
    kept = {node.name for number in float_segments for node in between(original, parts[number - 1])}
    exempt = [*(node.name for node in answering(original, parts)), *kept]
    quantizer = QDQQuantizer(
        copy.deepcopy(original),
        per_channel=True,
        reduce_range=reduce_range,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=[],
        nodes_to_exclude=exempt,
        op_types_to_quantize=list(OPERATORS),
        extra_options={},
    )
    quantised: onnx.ModelProto = quantizer.quantize_model()
    quantizer.model.topological_sort()
    _read_in_float(quantised, kept, {spec.name for part in parts for spec in part.inputs})
    for graph in (original, quantised):
        _tidy(graph)
    return Quantised(quantised, original)


def _read_in_float(quantised: onnx.ModelProto, kept: Collection[str], crossing: Collection[str]) -> None:
    """Let operators that stay in float read what others read in bytes as it was before that.

    Members of a cascade share pixels where they normalise alike. Features that cross a boundary stay bytes.
    """
    producers = {name: node for node in quantised.graph.node for name in node.output}
    for node in quantised.graph.node:
        for place, name in enumerate(node.input if node.name in kept else ()):
            back = producers.get(name)
            there = producers.get(back.input[0]) if back is not None and back.op_type == TO_FLOAT else None
            if there is not None and there.op_type == TO_BYTES and name not in crossing:
                node.input[place] = there.input[0]


def _prepared(whole: onnx.ModelProto) -> onnx.ModelProto:
    """Fold, fuse and infer shapes as ONNX Runtime's quantisation needs it, and give every node a name."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "prepared.onnx"
        try:
            quant_pre_process(whole, path)
        except Exception:
            # From a file: a graph in memory would be written without its weights.
            onnx.save(whole, path.with_stem("whole"))
            quant_pre_process(path.with_stem("whole"), path, skip_symbolic_shape=True)
        prepared = onnx.load(path)
    names: set[str] = set()
    for place, node in enumerate(prepared.graph.node):
        if not node.name or node.name in names:
            node.name = f"{node.op_type}_{place}_{node.output[0]}"
        names.add(node.name)
    return prepared


def _ranges(prepared: onnx.ModelProto, batches: Iterable[Images]) -> Any:
    """Run the images through the float net and return the least and the largest value of every tensor."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "prepared.onnx"
        onnx.save(prepared, path)
        calibrator = create_calibrator(
            path,
            list(OPERATORS),
            augmented_model_path=str(Path(scratch) / "augmented.onnx"),
            calibrate_method=CalibrationMethod.MinMax,
        )
        calibrator.collect_data(_Reader(batches))
        return calibrator.compute_data()


def pieces(batches: Iterable[Images]) -> Iterator[Images]:
    """Divide batches into so few images that memory has room for all they make a network compute at once.

    Memory of a run that takes ranges grows with its images. The ranges do not depend on how they are divided.

    >>> [len(piece) for piece in pieces([np.zeros((7, 224, 224, 3), np.uint8)])]
    [5, 2]
    """
    for batch in batches:
        step = max(1, _PIXELS // (batch.shape[1] * batch.shape[2]))
        yield from (batch[start : start + step] for start in range(0, len(batch), step))


class _Reader:
    """Hands out images the way ONNX Runtime's calibration asks for them."""

    def __init__(self, batches: Iterable[Images]) -> None:
        self._batches = pieces(batches)

    def get_next(self) -> dict[str, Images] | None:
        images = next(self._batches, None)
        return None if images is None else {IMAGES: images}


def _tidy(model: onnx.ModelProto) -> None:
    """Drop notes, inner shapes and the operator sets that no node uses."""
    forget_origin(model)
    used = {node.domain for node in model.graph.node}
    refill(model.opset_import, [opset for opset in model.opset_import if opset.domain in used])
