"""A net in float16 answers nearly what it did in float32, and its answers are float32."""

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.training.exporting.test_graph import passing_on, run_chain
from tests.training.small_net import CLASSES, PARTS, small_images, small_net
from training.exporting.float16 import halve
from training.exporting.graph import Boundary, boundaries, export_whole, split_at_boundaries


def torch_net() -> tuple[onnx.ModelProto, list[Boundary]]:
    model = passing_on()
    return export_whole(model), boundaries(model)


@pytest.mark.parametrize("net", [lambda: (small_net(), PARTS), torch_net])
def test_segments_agree_with_float32(net) -> None:  # type: ignore[no-untyped-def]
    whole, parts = net()
    half, half_parts = halve(whole, parts)
    images = small_images(200)
    names = [part.outputs[0].name for part in parts]
    expected = onnxruntime.InferenceSession(whole.SerializeToString()).run(names, {"images": images})
    segments = split_at_boundaries(half, half_parts)
    for found, wanted in zip(run_chain(segments, half_parts, images), expected, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, atol=0.01)
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
        assert np.abs(found - wanted).max() > 0
    for segment in segments:
        onnx.checker.check_model(onnx.load_from_string(segment), full_check=True)


def test_weights_and_features_are_float16_and_the_answering_layers_are_not() -> None:
    half, parts = halve(small_net(), PARTS)
    assert [spec.dtype for spec in parts[0].outputs] == ["float32", "float16"]
    assert parts[1].inputs == parts[0].outputs[1:]
    types = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert types["third.weight"] == onnx.TensorProto.FLOAT16
    assert types["head_1.weight"] == onnx.TensorProto.FLOAT
    assert {value.name: value.type.tensor_type.elem_type for value in half.graph.output} == {
        "probabilities_1": onnx.TensorProto.FLOAT,
        "features_1_1": onnx.TensorProto.FLOAT16,
        "probabilities_2": onnx.TensorProto.FLOAT,
    }


def test_nearly_every_row_has_a_confidence_of_its_own() -> None:
    half, parts = halve(small_net(), PARTS)
    images = small_images(1000)
    for probabilities in run_chain(split_at_boundaries(half, parts), parts, images):
        assert probabilities.shape == (1000, CLASSES)
        assert len(np.unique(probabilities.max(axis=1))) >= 900
