"""Layers of a quantised net go back to float one by one, and the one that does harm is found."""

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest

from tests.training.exporting.test_graph import run_chain
from tests.training.small_net import PARTS, small_images, small_net
from training.exporting.graph import split_at_boundaries
from training.exporting.int8 import Quantised, insert_quantizers
from training.exporting.int8_fallback import damage, in_float, quantised_layers, title
from training.exporting.int8_features import byte_features

NAMES = ["probabilities_1", "probabilities_2"]
IMAGES = small_images(40, seed=1)


def quantised(outlier: float = 1.0) -> Quantised:
    return insert_quantizers(small_net(outlier), PARTS, [small_images(64)], reduce_range=True)


@pytest.fixture(scope="module")
def hostile() -> Quantised:
    return quantised(outlier=1e4)


def answers(whole: onnx.ModelProto) -> list[npt.NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(whole.SerializeToString())
    found: list[npt.NDArray[np.float32]] = session.run(NAMES, {"images": IMAGES})
    return found


def apart(one: onnx.ModelProto, other: onnx.ModelProto) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(answers(one), answers(other), strict=True))


def test_with_every_layer_in_float_it_is_the_float_net(hostile: Quantised) -> None:
    assert apart(hostile.whole, small_net(1e4)) > 0.1
    whole = in_float(hostile, quantised_layers(hostile))
    onnx.checker.check_model(whole, full_check=True)
    assert apart(whole, small_net(1e4)) < 1e-6
    assert {"first", "second", "third"} <= {node.name for node in whole.graph.node}


def test_with_no_layer_in_float_it_is_the_int8_net(hostile: Quantised) -> None:
    assert apart(in_float(hostile, []), hostile.whole) == 0


def test_the_relu_that_quantising_made_needless_comes_back(hostile: Quantised) -> None:
    assert not [node for node in hostile.whole.graph.node if node.op_type == "Relu"]
    whole = in_float(hostile, ["second"])
    readers = [node for node in whole.graph.node if node.name == "second"]
    producers = {name: node.op_type for node in whole.graph.node for name in node.output}
    assert [producers[node.input[0]] for node in readers] == ["Relu"]
    assert readers[0].input[1] == "second.weight_in_float"


def test_the_layer_that_reads_the_outlier_does_the_harm(hostile: Quantised) -> None:
    layers = quantised_layers(hostile)
    harm = damage(hostile, NAMES, [IMAGES], layers)
    assert max(harm, key=lambda layer: harm[layer]) == "second"
    assert harm["second"] > 5 * max(value for layer, value in harm.items() if layer != "second")
    assert apart(in_float(hostile, ["second"]), small_net(1e4)) < 0.1
    assert title(hostile, "second") == "second"
    assert title(hostile, "flatten_1") == "flatten_1"


def test_features_that_a_layer_in_float_reads_stay_float() -> None:
    net = quantised()
    _, parts = byte_features(in_float(net, ["first"]), PARTS)
    assert parts[0].outputs[1].dtype == "uint8"
    whole, parts = byte_features(in_float(net, ["third"]), PARTS)
    assert parts[0].outputs[1].dtype == parts[1].inputs[0].dtype == "float32"
    found = run_chain(split_at_boundaries(whole, parts), parts, IMAGES)
    np.testing.assert_array_equal(found, answers(in_float(net, ["third"])))
