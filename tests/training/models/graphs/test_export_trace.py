"""torch.export reads what torch.fx cannot, and cuts there change nothing."""

import copy

import pytest
import torch

from tests.training.models.nets import Branching, Deciding
from training.errors import ConfigError
from training.models.flops import segment_flops
from training.models.graphs.cutting import candidates, split_at_layers
from training.models.graphs.export_trace import trace_exported
from training.models.graphs.tracing import trace
from training.models.multi_exit import MultiExitModel
from training.models.registry import architecture

NETS = "tests.training.models.nets:"
MEAN, STD = (0.5,) * 3, (0.25,) * 3


def test_layers_keep_their_names_and_cuts_cost_what_torch_fx_says() -> None:
    net = Branching(5).eval()
    whole, layers = copy.deepcopy(net), ["stem.1", "left", "pair.0"]
    found = trace_exported(net, 32, "net")
    assert {*layers, "stem", "pair.1"} <= set(candidates(found))
    model = MultiExitModel(split_at_layers(found, layers, 5), MEAN, STD, 32).eval()
    images = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(model(images)[-1], whole(model.normalise(images)[0]))
    fx = MultiExitModel(split_at_layers(trace(whole, 32, "net", evaluation=True), layers, 5), MEAN, STD, 32)
    assert segment_flops(model) == segment_flops(fx)


def test_it_is_the_second_way_and_the_network_stays_in_evaluation_mode() -> None:
    options = {"exits": "first", "image_size": 16, "evaluation": True}
    model = architecture(f"{NETS}shape_branching", options).model(5).train()
    images = torch.randint(0, 256, (4, 16, 16, 3), dtype=torch.uint8)
    before = copy.deepcopy(dict(model.named_buffers()))
    first, second = model(images), model(images)
    torch.testing.assert_close(first, second, msg="nothing is dropped")
    sum(logits.sum() for logits in first).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(torch.equal(before[name], now) for name, now in model.named_buffers())
    assert model.segment(0).head.training


def test_values_that_decide_are_refused_with_their_line() -> None:
    with pytest.raises(
        ConfigError, match=r"torch.export cannot follow its forward \(nets.py:\d+: return x if"
    ):
        trace_exported(Deciding(5), 16, "net")
    with pytest.raises(ConfigError, match=r"torch.fx cannot .*; torch.export cannot follow"):
        architecture(f"{NETS}Deciding", {"exits": "layer", "evaluation": True}).model(5)
