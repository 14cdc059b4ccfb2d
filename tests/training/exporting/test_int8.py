"""A net in int8 answers nearly what it did in float, and the same whether it is cut or not."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from tests.training.exporting.test_graph import msdnet, passing_on, run_chain
from training.exporting.graph import IMAGES, Boundary, boundaries, export_whole, split_at_boundaries
from training.exporting.int8 import Images, quantize
from training.models.multi_exit import MultiExitModel
from training.models.registry import architecture


def images(count: int, size: int, seed: int = 0) -> Images:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def residual() -> MultiExitModel:
    """Additions, strides, and convolutions without a ReLU behind them."""
    return architecture("sdn-resnet56", {"blocks": 1, "exits": [1, 2], "image_size": 8}).model(4)


def pooling() -> MultiExitModel:
    """Maxima over whole maps, whose shapes ONNX Runtime's symbolic inference does not find."""
    options = {"channels": "8,16,16,16", "stem_channels": 24, "head_channels": 8, "image_size": 16}
    return architecture("resnet9", options).model(4)


def spread(model: MultiExitModel) -> MultiExitModel:
    """Give a model weights that tell images apart, and BatchNorm statistics that fit them."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter)
        if parameter.ndim == 2:
            parameter.data.mul_(3)
    model.train()
    with torch.no_grad():
        for seed in range(10):
            model(torch.from_numpy(images(64, model.image_size, seed)))
    return model.eval()


@dataclass(frozen=True)
class Exported:
    """A model's graph in float and in int8, with the boundaries of each."""

    size: int
    in_float: onnx.ModelProto
    float_parts: list[Boundary]
    int8: onnx.ModelProto
    parts: list[Boundary]


def exported(model: MultiExitModel) -> Exported:
    whole, parts = export_whole(spread(model)), boundaries(model)
    batches: Iterator[Images] = (images(32, model.image_size, seed) for seed in range(2))
    return Exported(model.image_size, whole, parts, *quantize(whole, parts, batches, reduce_range=True))


@pytest.fixture(scope="module")
def dense() -> Exported:
    return exported(msdnet())


@pytest.fixture(scope="module", params=[msdnet, passing_on, residual])
def any_net(request: pytest.FixtureRequest, dense: Exported) -> Exported:
    return dense if request.param is msdnet else exported(request.param())


def test_a_net_whose_shapes_symbolic_inference_does_not_find() -> None:
    found = exported(pooling())
    shown, names = images(50, found.size, seed=9), [part.outputs[0].name for part in found.parts]
    in_float, in_bytes = (
        onnxruntime.InferenceSession(graph.SerializeToString()).run(names, {IMAGES: shown})
        for graph in (found.in_float, found.int8)
    )
    assert any(node.op_type == "QuantizeLinear" for node in found.int8.graph.node)
    for expected, answer in zip(in_float, in_bytes, strict=True):
        assert 0 < np.abs(answer - expected).mean() < 0.04


def test_segments_answer_exactly_what_the_whole_net_answers(any_net: Exported) -> None:
    shown = images(50, any_net.size, seed=9)
    names = [part.outputs[0].name for part in any_net.parts]
    in_float = onnxruntime.InferenceSession(any_net.in_float.SerializeToString()).run(names, {IMAGES: shown})
    together = onnxruntime.InferenceSession(any_net.int8.SerializeToString()).run(names, {IMAGES: shown})
    apart = run_chain(split_at_boundaries(any_net.int8, any_net.parts), any_net.parts, shown)
    for float_answer, expected, found in zip(in_float, together, apart, strict=True):
        np.testing.assert_array_equal(found, expected)
        assert 0 < np.abs(found - float_answer).max() < 0.1


def test_features_are_bytes_at_every_boundary(any_net: Exported) -> None:
    assert {spec.dtype for part in any_net.parts for spec in part.outputs[1:]} == {"uint8"}
    for segment, part in zip(split_at_boundaries(any_net.int8, any_net.parts), any_net.parts, strict=True):
        graph = onnx.load_from_string(segment)
        onnx.checker.check_model(graph)
        assert {opset.domain for opset in graph.opset_import} == {""}
        for declared, specs in ((graph.graph.input, part.inputs), (graph.graph.output, part.outputs)):
            types = [
                onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type) for value in declared
            ]
            assert types == [np.dtype(spec.dtype) for spec in specs]
            shapes = [tuple(d.dim_value for d in value.type.tensor_type.shape.dim[1:]) for value in declared]
            assert shapes == [spec.shape[1:] for spec in specs]


def test_feature_maps_cross_boundaries_without_being_transposed(dense: Exported, tmp_path: Path) -> None:
    assert [spec.shape for spec in dense.parts[1].inputs] == [(None, 16, 16, 12), (None, 8, 8, 24)]
    for segment in split_at_boundaries(dense.int8, dense.parts):
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
        onnxruntime.InferenceSession(segment, options)
        operators = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
        # The one that is left is between the head's pooling and its linear layer, a few numbers.
        assert operators.count("Transpose") == 1
        assert "QLinearConv" in operators


def test_nearly_every_row_has_a_confidence_of_its_own(any_net: Exported) -> None:
    shown = images(300, any_net.size, seed=9)
    for probabilities in run_chain(split_at_boundaries(any_net.int8, any_net.parts), any_net.parts, shown):
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
        assert len(np.unique(probabilities.max(axis=1))) >= 0.9 * len(shown)


def test_the_last_linear_layer_and_the_softmax_stay_in_float(dense: Exported) -> None:
    weights = {tensor.name: tensor.data_type for tensor in dense.int8.graph.initializer}
    linear = [node for node in dense.int8.graph.node if node.op_type == "Gemm"]
    assert len(linear) == 2
    assert {weights[node.input[1]] for node in linear} == {onnx.TensorProto.FLOAT}
    convolutions = [node for node in dense.int8.graph.node if node.op_type == "Conv"]
    assert not {node.input[1] for node in convolutions} & weights.keys()


def test_weights_of_seven_bits_leave_room_for_a_sum_of_two_products(dense: Exported) -> None:
    full, _ = quantize(dense.in_float, dense.float_parts, [images(8, dense.size)], reduce_range=False)
    assert (largest_weight(full), largest_weight(dense.int8)) == (127, 64)


def largest_weight(int8: onnx.ModelProto) -> int:
    weights = [tensor for tensor in int8.graph.initializer if tensor.name.endswith("weight_quantized")]
    return max(int(np.abs(onnx.numpy_helper.to_array(tensor).astype(int)).max()) for tensor in weights)
