"""Concatenations in int8 copy bytes: all that they join has one scale."""

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData

from tests.training.exporting.test_graph import msdnet
from tests.training.exporting.test_int8 import exported
from training.exporting.int8_ranges import joined, share_ranges


def graph(*concatenations: tuple[str, ...]) -> onnx.GraphProto:
    """Each: the inputs, and last the output."""
    nodes = [helper.make_node("Concat", names[:-1], names[-1:], axis=1) for names in concatenations]
    nodes.append(helper.make_node("Relu", ["e"], ["apart"]))
    value = helper.make_tensor_value_info("a", TensorProto.FLOAT, [1])
    return helper.make_graph(nodes, "joining", [value], [value])


def test_values_are_joined_directly_and_by_one_another() -> None:
    found = joined(graph(("a", "b", "ab"), ("c", "d", "cd"), ("ab", "e", "abe"), ("cd", "abe", "all")))
    assert found == [{"a", "b", "ab", "c", "d", "cd", "e", "abe", "all"}]
    apart = joined(graph(("a", "b", "ab"), ("c", "d", "cd")))
    assert sorted(map(sorted, apart)) == [["a", "ab", "b"], ["c", "cd", "d"]]


def test_the_widest_range_holds_for_all_and_others_keep_theirs() -> None:
    lows_highs = {"a": (-1, 2), "b": (0, 5), "ab": (-1, 5), "e": (0, 9), "apart": (0, 9)}
    ranges = {name: (np.float32(low), np.float32(high)) for name, (low, high) in lows_highs.items()}
    shared = share_ranges(TensorsData(CalibrationMethod.MinMax, ranges), graph(("a", "b", "c", "ab")))
    found = {name: shared[name].range_value for name in shared}
    assert {found[name] for name in ("a", "b", "ab")} == {(-1, 5)}
    assert found["e"] == found["apart"] == (0, 9)
    assert "c" not in found  # nobody measured it, such as a constant


def test_a_dense_net_in_int8_has_one_scale_around_each_concatenation() -> None:
    int8 = exported(msdnet()).int8
    scales = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in int8.graph.initializer}
    producers = {name: node for node in int8.graph.node for name in node.output}
    readers = {name: node for node in int8.graph.node for name in node.input}
    concatenations = [node for node in int8.graph.node if node.op_type == "Concat"]
    assert concatenations
    for node in concatenations:
        around = [*(producers[name] for name in node.input), readers[node.output[0]]]
        assert {other.op_type for other in around} == {"DequantizeLinear", "QuantizeLinear"}
        assert len({float(scales[other.input[1]]) for other in around}) == 1
