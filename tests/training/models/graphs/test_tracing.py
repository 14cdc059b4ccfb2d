"""What torch.fx cannot follow is refused by place and reason; evaluation mode alone takes more."""

import copy

import pytest
import torch
from torch import nn

from tests.training.models.nets import Deciding, ShapeBranching, Training
from training.errors import ConfigError
from training.models.graphs.tracing import trace

NETS = "tests.training.models.nets:"


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (Deciding(5), r"in the network \(Deciding\) \(nets.py:\d+: return x if x.sum\(\) > 0 else -x\): "),
        (Deciding(5), r"the code goes a way that depends on the images' values"),
        (ShapeBranching(5), r"\(nets.py:\d+: if images.shape\[1\] != 3:\): the code .* depends on a shape"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), Deciding(5)), r"in 1 \(Deciding\)"),
    ],
)
def test_the_module_the_line_and_the_reason_are_named(net: nn.Module, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        trace(net, 16, "net")


def test_in_evaluation_mode_alone_it_may_read_the_mode() -> None:
    net = Training(5)
    with pytest.raises(ConfigError, match="--model-option evaluation=true"):
        trace(copy.deepcopy(net), 16, "net")
    found = trace(net, 16, "net", evaluation=True)
    assert not net.training
    assert found.values[found.nodes[-1]][0].shape == (2, 5)
    assert torch.is_grad_enabled()
