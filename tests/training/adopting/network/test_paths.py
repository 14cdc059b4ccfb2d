from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.training.adopting.graphs import classifier, saved
from training.adopting.network.network import read_network
from training.adopting.network.paths import bottlenecks, cuts, flops_before
from training.errors import AdoptError


def graph_of(edges: list[tuple[int, int]], nodes: int) -> onnx.ModelProto:
    """Return a graph in which tensor t{j} sums those that edges lead from; t0 is the input."""
    made = []
    for target in range(1, nodes):
        read = [f"t{source}" for source, end in edges if end == target] or ["t0"]
        made.append(helper.make_node("Sum", read, [f"t{target}"]))
    value = [helper.make_tensor_value_info(f"t{place}", TensorProto.FLOAT, [1]) for place in (0, nodes - 1)]
    return helper.make_model(helper.make_graph(made, "graph", value[:1], value[1:]))


@given(st.integers(3, 9), st.data())
def test_bottlenecks_are_the_tensors_without_which_no_path_is_left(nodes: int, data: st.DataObject) -> None:
    pairs = [(source, end) for end in range(1, nodes) for source in range(end)]
    edges = data.draw(st.lists(st.sampled_from(pairs), unique=True, min_size=nodes))
    model = graph_of(edges, nodes)
    links = [(name, node.output[0]) for node in model.graph.node for name in node.input]

    def connected(without: str | None) -> bool:
        reached = {"t0"}
        for _ in range(nodes):
            reached |= {end for source, end in links if source in reached and end != without}
        return f"t{nodes - 1}" in reached

    expected = [
        f"t{place}" for place in range(1, nodes - 1) if connected(None) and not connected(f"t{place}")
    ]
    assert bottlenecks(model, "t0", f"t{nodes - 1}") == expected


def test_cuts_lie_behind_activations_and_between_blocks(tmp_path: Path) -> None:
    network = read_network(saved(classifier(), tmp_path))
    found = cuts(network)
    assert [cut.tensor for cut in found] == ["r1", "average"] or [cut.tensor for cut in found] == [
        "r1",
        "vector",
    ]
    assert all(later.flops > earlier.flops for earlier, later in pairwise(found))
    assert found[0].flops == 8 * 8 * 4 * (27 + 1)
    assert network.flops == 8 * 8 * 4 * (27 + 1 + 36 + 1) + 8 * 8 * 4 + 4 * 4 + 4


def test_flops_before_count_every_operator_once() -> None:
    model = graph_of([(0, 1), (1, 2), (1, 3), (2, 4), (3, 4), (4, 5)], 6)
    assert flops_before(model, [1, 10, 100, 1000, 10000], ["t1", "t4"]) == {"t1": 1, "t4": 1111}


def test_a_network_of_one_layer_cannot_be_cut(tmp_path: Path) -> None:
    weight = onnx.numpy_helper.from_array(np.ones((3 * 64, 2), np.float32), "w")
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["logits"]),
        ],
        "linear",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    with pytest.raises(AdoptError, match="no single tensor lies between"):
        cuts(read_network(saved(model, tmp_path)))
