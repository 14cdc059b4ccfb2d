from pathlib import Path

import pytest
import torch
from torch._inductor import cpp_builder
from torch._inductor.exc import InvalidCxxCompiler

from tests.training.small_runs import broken, config, ended, flags, same, trained
from training import recipes
from training.config import FitConfig
from training.errors import ConfigError
from training.fit import main
from training.fitting.problem import Recipe
from training.models.architectures import torchvision_nets
from training.runs.checkpoint import Checkpoint
from training.runs.run import Run
from training.runs.start import checked
from training.schedules import constant

NET = {
    **{"fine": "0,1", "coarse": "1,0", "stem_channels": "24"},
    **{"fine_channels": "4", "coarse_channels": "8", "head_channels": "8"},
}
LADDER = {"model": "ladder", "model_option": NET}


def test_a_recipe_fills_in_what_nobody_gave() -> None:
    fast = config(recipe="fast", method="joint", lr=0.02)

    assert fast.lr == 0.02
    assert (fast.schedule, fast.nesterov, fast.whiten, fast.border) == ("triangular", True, True, "reflect")
    assert fast.weight_ema == 0.995


def test_a_recipe_is_kept_as_its_settings() -> None:
    stored = config(recipe="fast", method="joint").stored()

    assert FitConfig.model_validate(stored).stored() == stored
    assert stored["schedule"] == "triangular"


def test_a_method_of_outer_epochs_has_no_average_by_the_step() -> None:
    assert config(recipe="fast", method="meta-gf").weight_ema is None


def test_without_a_recipe_nothing_changes() -> None:
    assert config(recipe="plain") == config()
    assert config().schedule == "step"


@pytest.mark.parametrize(("fast_bf16", "precision"), [(True, "bf16"), (False, "float32")])
def test_bf16_is_for_machines_that_have_it(
    fast_bf16: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipes, "bf16_pays", lambda: fast_bf16)

    assert config(recipe="fast").precision == precision


def test_an_unknown_method_is_told_as_without_a_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="unknown method 'adam'"):
        config(recipe="fast", method="adam")
    assert main([*flags(recipe="fast", method="adam"), "--out", str(tmp_path / "run")]) == 2
    assert "unknown method 'adam'" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["joint", "ge", "pcgrad", "meta-gf"])
def test_a_fast_run_resumes_bit_for_bit(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {**LADDER, "recipe": "fast", "method": method, "epochs": 3, "start_size": 20, "batch_size": 32}
    whole = trained(tmp_path / "whole", **options)

    run = ended(broken(monkeypatch, tmp_path / "broken", 2, **options))

    one, other = (Checkpoint.load(each.checkpoint_path) for each in (whole, run))
    assert same(one.model, other.model)
    assert same(one.trained or {}, other.trained or {})


def test_a_frozen_whitening_stays_what_it_was(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", **LADDER, recipe="fast", method="joint", epochs=2)

    checkpoint = Checkpoint.load(run.checkpoint_path)
    filters = checkpoint.model["segments.0.body.0.layers.0.weight"]

    torch.testing.assert_close(filters[12:], -filters[:12], rtol=0, atol=0)
    assert checkpoint.trained is not None
    assert torch.equal(checkpoint.trained["segments.0.body.0.layers.0.weight"], filters)
    assert Run.open(tmp_path / "run").model().exits == 2


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"nesterov": True, "momentum": 0}, "--nesterov looks ahead along the momentum"),
        ({**LADDER, "start_size": 32}, "--start-size 32: expected less than the image size of 32 pixels"),
        ({"start_size": 24}, "--start-size 24: the model takes images of 32 pixels only"),
        (
            {
                **{"model": "torchvision:resnet18", "model_option": {}, "exits": ("layer1",)},
                **{"pretrained": True, "whiten": True, "image_size": 32},
            },
            "--whiten would replace the first convolution of --pretrained weights",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(
    given: dict[str, object], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision_nets, "load_pretrained", lambda *_: ((0.5,) * 3, (0.25,) * 3))

    with pytest.raises(ConfigError, match=says):
        checked(config(**given))


def test_no_compiler_is_told_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none)

    with pytest.raises(ConfigError, match="--compile needs a C\\+\\+ compiler, and found none"):
        checked(config(compile=True))


def test_a_run_that_starts_from_another_keeps_its_whitening(tmp_path: Path) -> None:
    start = trained(tmp_path / "start", **LADDER, whiten=True, method="joint", epochs=1)
    run = trained(tmp_path / "run", **LADDER, whiten=True, method="joint", epochs=1, init_from=start.folder)

    name = "segments.0.body.0.layers.0.weight"
    one, other = (Checkpoint.load(each.checkpoint_path).model for each in (start, run))

    assert torch.equal(one[name], other[name])
    assert not same(one, other)


def test_decoupled_decay_does_not_know_the_learning_rate() -> None:
    penalties = [
        Recipe(lr, 0.9, 0.01, constant, epochs=1, decoupled_weight_decay=True).l2_penalty * lr
        for lr in (0.1, 0.5)
    ]

    assert penalties == pytest.approx([0.01, 0.01])
    assert Recipe(0.1, 0.9, 0.01, constant, epochs=1).l2_penalty == 0.01


def test_a_compiled_net_learns_what_the_other_learns(tmp_path: Path) -> None:
    net = {**NET, "fine": "0", "coarse": "0"}  # as little as may be: compiling takes long
    options = {"model": "ladder", "model_option": net, "method": "joint", "epochs": 1}
    options |= {"train_limit": 64, "batch_size": 32, "lr": 1e-3}
    plain = trained(tmp_path / "plain", **options)
    fast = trained(tmp_path / "fast", **options, compile=True)

    one, other = (Checkpoint.load(run.checkpoint_path).model for run in (plain, fast))

    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-3, atol=1e-4)
