from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torchvision
from onnx import helper, numpy_helper
from torch import nn

from training.adopting.network.loading import exported
from training.adopting.network.network import network
from training.adopting.network.onnx_flops import node_flops
from training.errors import AdoptError
from training.models.flops import FlopsCounter


def torch_flops(net: nn.Module, size: int) -> int:
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), FlopsCounter() as counter:
            net(torch.zeros(1, 3, size, size))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return int(counter.flops)


def small_transformer() -> nn.Module:
    net: nn.Module = torchvision.models.VisionTransformer(64, 16, 2, 2, 32, 64, num_classes=10)
    return net


@pytest.mark.parametrize(
    "build",
    [
        torchvision.models.resnet18,
        torchvision.models.mobilenet_v3_small,
        torchvision.models.squeezenet1_1,
        small_transformer,
    ],
)
def test_both_counters_agree_to_the_digit(build: Callable[[], nn.Module]) -> None:
    net = build().eval()
    for weights in net.parameters():  # biases of zero would vanish from the graph
        nn.init.normal_(weights, std=0.02)
    assert network(exported(build.__name__, net, 64)).flops == torch_flops(net, 64)


def count(
    nodes: list[onnx.NodeProto], shapes: Mapping[str, tuple[int, ...]], **weights: np.ndarray
) -> list[int]:
    """Count for one image; the shapes are without rows."""
    tensors = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    model = helper.make_model(helper.make_graph(nodes, "graph", [], [], tensors))
    one, two = ({name: (rows, *shape) for name, shape in shapes.items()} for rows in (1, 2))
    return node_flops(model, one, two)


def node(operator: str, *read: str, **attributes: Any) -> onnx.NodeProto:
    *inputs, output = read
    return helper.make_node(operator, inputs, [output], **attributes)


ONES = np.ones(5, np.float32)
SHAPE = dict.fromkeys("abcdefg", (5, 4, 4))


@pytest.mark.parametrize(
    ("nodes", "weights", "flops"),
    [
        ([node("Sigmoid", "a", "b"), node("Mul", "a", "b", "c")], {}, [80, 0]),
        (
            [node("Add", "a", "w", "b"), node("Clip", "b", "w", "w", "c"), node("Mul", "a", "c", "d")],
            {"w": np.float32(3)},
            [0, 80, 0],
        ),
        ([node("Sigmoid", "a", "b"), node("Mul", "g", "b", "c")], {}, [80, 80]),
        ([node("Mul", "a", "w", "b")], {"w": np.float32(2)}, [0]),
        ([node("Mul", "a", "w", "b")], {"w": np.ones((5, 1, 1), np.float32)}, [80]),
        ([node("Add", "a", "b", "c")], {}, [0]),
        ([node("Add", "w", "a", "b")], {"w": np.ones(4, np.float32)}, [80]),
        ([node("Clip", "a", "w", "b")], {"w": np.float32(0)}, [0]),
        ([node("MaxPool", "a", "b", kernel_shape=[3, 3])], {}, [720]),
        ([node("BatchNormalization", "a", "w", "w", "w", "w", "b")], {"w": ONES}, [0]),
        (
            [node("Einsum", "a", "w", "b", equation="ncij,jk->ncik")],
            {"w": np.ones((4, 4), np.float32)},
            [320],
        ),
        ([node("Relu", "w", "x")], {"w": ONES}, [0]),
    ],
)
def test_rules(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], flops: list[int]) -> None:
    assert count(nodes, SHAPE, **weights) == flops


def test_linear_antialiased_resizing_counts_the_window_it_reads() -> None:
    size = np.array([2, 2])
    resize = node("Resize", "a", "", "", "w", "b", mode="linear", antialias=1, axes=[2, 3])
    assert count([resize], {"a": (5, 4, 4), "b": (5, 2, 2)}, w=size) == [5 * 2 * 2 * 4 * 4]


def test_all_operators_without_a_rule_are_told_at_once() -> None:
    nodes = [node("Hardmax", "a", "b"), node("Det", "b", "c"), node("Hardmax", "c", "d")]
    with pytest.raises(AdoptError, match=r"no FLOPs rule for the operators Det \(1\), Hardmax \(2\)"):
        count(nodes, SHAPE)
