"""No graph leads outside its own file, wherever it hides the way out."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from serving.bundle.graph_checks import check_segment, check_self_contained, parse_model
from serving.errors import BundleError
from tests.bundles import tiny_manifest, tiny_segments

SPEC = tiny_manifest().segments[0]


def model() -> onnx.ModelProto:
    return parse_model(tiny_segments()[0])


def external() -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "stolen")
    onnx.external_data_helper.set_external_data(tensor, "../../etc/passwd")
    tensor.ClearField("raw_data")
    return tensor


def graph_of(tensor: onnx.TensorProto) -> onnx.GraphProto:
    return helper.make_graph([], "inner", [], [], [tensor])


def _branch(target: onnx.ModelProto) -> None:
    inner, empty = graph_of(external()), helper.make_graph([], "empty", [], [])
    target.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=empty, else_branch=inner))


def _function(target: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["y"], value=external())
    function = helper.make_function("offramp", "F", [], ["y"], [node], [helper.make_opsetid("", 20)])
    target.functions.append(function)


def _sparse(target: onnx.ModelProto) -> None:
    indices = numpy_helper.from_array(np.zeros(4, np.int64), "indices")
    target.graph.sparse_initializer.append(helper.make_sparse_tensor(external(), indices, [9]))


def _no_flag(target: onnx.ModelProto) -> None:
    tensor = external()
    tensor.data_location = TensorProto.DEFAULT
    target.graph.initializer.append(tensor)


HIDING_PLACES: dict[str, Callable[[onnx.ModelProto], None]] = {
    "initializer": lambda target: target.graph.initializer.append(external()),
    "location without the flag": _no_flag,
    "constant": lambda target: target.graph.node.append(
        helper.make_node("Constant", [], ["y"], value=external())
    ),
    "list of tensors": lambda target: target.graph.node.append(
        helper.make_node("Any", [], ["y"], values=[external()])
    ),
    "branch": _branch,
    "function": _function,
    "sparse": _sparse,
    "training": lambda target: target.training_info.add().initialization.CopyFrom(graph_of(external())),
}


@pytest.mark.parametrize("place", HIDING_PLACES)
def test_external_data_is_found_everywhere(place: str) -> None:
    target = model()
    HIDING_PLACES[place](target)
    with pytest.raises(BundleError, match="'stolen' keeps its data in another file"):
        check_segment(target.SerializeToString(), SPEC)


def test_operators_that_run_other_files() -> None:
    target = model()
    target.graph.node.append(helper.make_node("EPContext", [], ["y"], domain="com.microsoft"))
    with pytest.raises(BundleError, match="EPContext"):
        check_self_contained(target)


def test_an_honest_segment_passes() -> None:
    check_segment(tiny_segments()[0], SPEC)


def test_weights_may_be_listed_as_inputs() -> None:
    """Old exporters list every weight among the graph's inputs."""
    target = model()
    target.graph.input.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, [48, 8]))
    check_segment(target.SerializeToString(), SPEC)


def test_tensors_are_held_to_the_manifest() -> None:
    fixed = model()
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    with pytest.raises(BundleError, match=r"'images' of its inputs is uint8 \[1, 8, 8, 3\]"):
        check_segment(fixed.SerializeToString(), SPEC)
    double = model()
    double.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    with pytest.raises(BundleError, match="'probabilities_1' of its outputs is DOUBLE"):
        check_segment(double.SerializeToString(), SPEC)
    missing = model()
    del missing.graph.output[2]
    with pytest.raises(BundleError, match="the manifest promises"):
        check_segment(missing.SerializeToString(), SPEC)
