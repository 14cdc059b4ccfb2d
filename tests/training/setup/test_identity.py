"""Convolutions begin by passing their input on."""

from typing import Any

import pytest
import torch
from torch import nn

from tests.training.small_runs import config
from tests.training.test_recipes import LADDER, NET
from training.errors import ConfigError
from training.models.multi_exit import MultiExitModel, Segment
from training.models.registry import architecture
from training.runs.start import checked
from training.setup.checks import check_recipe
from training.setup.identity import pass_on


def test_the_first_outputs_are_the_inputs_and_the_others_as_drawn() -> None:
    model = architecture("ladder", NET).model(3)
    stem = model.segment(0).body[0].layers  # type: ignore[index]
    first, wide = stem[0], model.segment(0).body[1].rung[0]  # type: ignore[index]
    drawn, image = wide.weight.detach().clone(), first.weight.detach().clone()

    assert pass_on(model) > 3

    x = torch.randn(1, 4, 6, 6)
    passed = nn.functional.conv2d(x, wide.weight, padding=1)
    torch.testing.assert_close(passed[:, :4], x)
    assert torch.equal(wide.weight[4:], drawn[4:])
    assert torch.equal(first.weight, image)


def test_with_fewer_outputs_the_first_inputs_pass() -> None:
    model = architecture("ladder", {**NET, "head_channels": "5"}).model(3)

    pass_on(model)

    weight = model.segment(0).head.features[0].weight  # type: ignore[index, union-attr]
    x = torch.randn(1, 8, 4, 4)
    torch.testing.assert_close(nn.functional.conv2d(x, weight, padding=1), x[:, :5])


def test_another_start_is_refused() -> None:
    with pytest.raises(ConfigError, match="--identity-start and --init-from both say how"):
        checked(config(**LADDER, identity_start=True, init_from="runs/a"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"identity_start": True}, "expected convolutions of 3×3 or more, found none"),
        ({"bias_lr": 64.0}, "--bias-lr is of BatchNorm's biases, and the model has none"),
    ],
)
def test_a_model_without_such_layers_is_refused(given: dict[str, Any], message: str) -> None:
    head = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))
    plain = MultiExitModel([Segment(nn.Identity(), head)], (0.5,) * 3, (0.5,) * 3, 32)

    with pytest.raises(ConfigError, match=message):
        check_recipe(config(**given), plain)
