"""In-place steps become plain ones that compute the same."""

import operator
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from training.models.graphs.plain_graph import GlobalAverage, make_modules_plain, make_steps_plain


def iadd(x: Tensor) -> Tensor:
    y = x + 1
    y += x
    return y


def statement(x: Tensor) -> Tensor:
    y = x - 0.5
    before = y * 1
    torch.relu_(y)
    y.mul_(3)
    F.hardtanh(y, inplace=True)
    return y + before


def chain(x: Tensor) -> Tensor:
    return F.relu(x - 0.5, inplace=True).sub_(1).clamp_(min=-0.7)


def scaled(x: Tensor) -> Tensor:
    y = x * 1
    y *= 2
    y /= 3
    y -= x
    return y


@pytest.mark.parametrize("function", [iadd, statement, chain, scaled])
def test_the_same_values_without_changing_any(function: Callable[[Tensor], Tensor]) -> None:
    graph = fx.symbolic_trace(function).graph
    make_steps_plain(graph)
    plain = fx.GraphModule(nn.Module(), graph)
    x = torch.linspace(-2, 2, 9)
    seen: list[tuple[Tensor, int]] = []

    class Watch(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            result = super().run_node(n)
            if isinstance(result, Tensor):
                seen.append((result, result._version))
            return result

    torch.testing.assert_close(Watch(plain).run(x.clone()), function(x.clone()))
    assert all(value._version == version for value, version in seen)
    assert operator.iadd not in {node.target for node in graph.nodes}


def test_modules_change_nothing_in_place_and_average_plainly() -> None:
    net = nn.Sequential(
        nn.ReLU(inplace=True), nn.Sequential(nn.AdaptiveAvgPool2d(1)), nn.AdaptiveAvgPool2d((2, 2))
    )
    x = torch.linspace(-1, 1, 32).view(1, 2, 4, 4)

    make_modules_plain(net)

    torch.testing.assert_close(net[:2](x), F.adaptive_avg_pool2d(F.relu(x), 1))
    assert x.min() == -1
    assert [type(module) for module in net] == [nn.ReLU, nn.Sequential, nn.AdaptiveAvgPool2d]
    assert isinstance(net.get_submodule("1.0"), GlobalAverage)


@pytest.mark.parametrize(
    ("pool", "plain"),
    [
        (lambda x: F.adaptive_avg_pool2d(x, (1, 1)), True),
        (lambda x: F.adaptive_avg_pool2d(x, output_size=1), True),
        (lambda x: F.adaptive_avg_pool2d(x, 2), False),
    ],
)
def test_global_pooling_is_a_mean(pool: Callable[[Tensor], Tensor], plain: bool) -> None:
    graph = fx.symbolic_trace(pool).graph
    make_steps_plain(graph)
    x = torch.randn(2, 3, 4, 4)

    torch.testing.assert_close(fx.GraphModule(nn.Module(), graph)(x), pool(x))
    assert (torch.mean in {node.target for node in graph.nodes}) is plain
