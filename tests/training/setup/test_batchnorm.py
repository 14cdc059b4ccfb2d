"""BatchNorm's biases learn as fast as they are told, and its scales not at all."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.small_runs import broken, ended, same, trained, weights
from tests.training.test_recipes import LADDER
from training.fitting.problem import Recipe, TrainingProblem
from training.models.multi_exit import MultiExitModel
from training.models.registry import architecture
from training.schedules import constant

PARTS: dict[str, Any] = {**LADDER, "identity_start": True, "bias_lr": 64.0, "freeze_bn_scale": True}


def problem(**changed: Any) -> tuple[MultiExitModel, TrainingProblem]:
    model = architecture("ladder", LADDER["model_option"]).model(3)  # type: ignore[arg-type]
    recipe = Recipe(lr=0.5, momentum=0, weight_decay=0.25, schedule=constant, epochs=1, **changed)
    return model, TrainingProblem(model, None, recipe)  # type: ignore[arg-type]


@pytest.mark.parametrize(("decoupled", "share"), [(False, 0.125), (True, 0.25)])
def test_a_step_of_a_bias_is_as_many_times_longer_and_its_decay_is_not(decoupled: bool, share: float) -> None:
    model, posed = problem(bias_lr=8.0, decoupled_weight_decay=decoupled)
    layer = model.segment(0).body[1].rung[1]  # type: ignore[index]
    with torch.no_grad():
        layer.bias.fill_(1)
    for parameter in posed.parameters:
        parameter.grad = torch.ones_like(parameter)

    posed.step(posed.optimizer())

    torch.testing.assert_close(layer.bias, torch.full((8,), 1 - 0.5 * 8 - share))
    torch.testing.assert_close(layer.weight, torch.full((8,), 1 - 0.5 - share))


@pytest.mark.parametrize("method", ["joint", "meta-gf"])
def test_scales_stay_and_the_run_resumes_bit_for_bit(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**PARTS, "method": method, "epochs": 2, "lr": 0.01}
    whole = trained(tmp_path / "whole", **options)

    run = ended(broken(monkeypatch, tmp_path / "broken", 1, **options))

    assert same(weights(whole), weights(run))
    scales = [t for name, t in weights(run).items() if name.endswith("rung.1.weight")]
    biases = [t for name, t in weights(run).items() if name.endswith("rung.1.bias")]
    assert all(torch.equal(scale, torch.ones_like(scale)) for scale in scales)
    assert all(bias.any() for bias in biases)
