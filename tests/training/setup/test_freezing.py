from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.setup import nets
from tests.training.small_runs import TINY
from training.config import FitConfig, OptionConfig, check_options
from training.errors import ConfigError
from training.exporting.export import export
from training.fitting.fit import fit
from training.fitting.progress import NoProgress
from training.models.multi_exit import MultiExitModel
from training.models.registry import architecture
from training.runs.run import Run
from training.runs.start import checked, resumed, started
from training.setup.freezing import check_learning, freeze_layers

NET: dict[str, Any] = {
    **TINY,
    "model": "tests.training.setup.nets:net",
    "model_option": {},
    "exits": ["first", "second"],
    "image_size": 8,
    "batch_size": 32,
    "train_limit": 64,
    "epochs": 1,
    "method": "joint",
    "normalise": "half",
}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save({"state_dict": {f"module.{k}": v for k, v in nets.trained().items()}}, tmp_path / "net.pth")
    return tmp_path / "net.pth"


def run_of(place: Path, **changed: object) -> Run:
    run, data = started(place, FitConfig.model_validate({**NET, **changed}))
    fit(run, data, show=NoProgress)
    return Run.open(place)


def original_names(model: MultiExitModel) -> dict[str, torch.Tensor]:
    """Return what came out of the user's network, by its names there."""
    return {
        name.split(".", 3)[3]: tensor
        for name, tensor in model.state_dict().items()
        if name.startswith("segments.") and (".body." in name or name.startswith("segments.2.head."))
    }


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "joint", "distil": 1.0},
        {"method": "joint", "weight_ema": 0.5},
        {"method": "ge"},
        {"method": "pcgrad"},
        {"method": "meta-gf", "method_option": {"bn_share": "1.0"}},
        {"method": "joint", "feature_split": True},
    ],
)
def test_a_frozen_backbone_does_not_change_by_a_bit(
    changed: dict[str, object], weights: Path, tmp_path: Path
) -> None:
    run = run_of(tmp_path / "run", freeze="backbone", init_weights=str(weights), **changed)
    after, drawn = original_names(run.model()), nets.trained()
    assert after.keys() == drawn.keys()
    for name, tensor in after.items():
        assert torch.equal(tensor, drawn[name]), name
    head = "segments.0.head.classify.weight"
    torch.manual_seed(run.config.seed)
    assert not torch.equal(run.model().state_dict()[head], run.architecture.model(10).state_dict()[head])
    record = (run.folder / "metrics.jsonl").read_text()
    assert '"train_loss": [' in record
    assert "null]" in record.partition("train_loss")[2]  # the last exit was not trained


def test_layers_up_to_one_stay_and_those_behind_it_learn(weights: Path, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", freeze="until:second.1", init_weights=str(weights))
    after, before = original_names(run.model()), nets.trained()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert {name.partition(".")[0] for name in changed} == {"third", "classify"}
    assert "third.1.running_mean" in changed


def test_until_an_exit_works_without_layer_names(tmp_path: Path) -> None:
    model = architecture("msdnet-tiny").model(10)
    freeze_layers(model, "until:exit2")
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert {name.rsplit(".body.")[0] for name in frozen} == {"segments.0", "segments.1"}
    assert not model.train().segment(1).body.training
    assert model.segment(2).body.training
    assert not model.eval().segment(2).body.training


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"freeze": "until:fourth"}, "the model has no such layer; its layers are first, second, third"),
        ({"freeze": "until:exit4"}, "expected an exit from 1 to 3"),
        ({"freeze": "half"}, "expected none, backbone"),
        ({"freeze": "backbone", "backbone_epochs": 1, "epochs": 2}, "trains the backbone alone"),
        ({"freeze": "backbone", "whiten": True}, "--whiten would replace a layer that --freeze keeps"),
        ({"distil_from": "original"}, "changes nothing without --distil"),
    ],
)  # fmt: skip
def test_what_cannot_be_frozen_is_told_before_data_is_read(
    changed: dict[str, object], says: str, tmp_path: Path
) -> None:
    config = FitConfig.model_validate({**NET, "dataset": str(tmp_path / "nowhere"), **changed})
    with pytest.raises(ConfigError, match=says):
        started(tmp_path / "run", config)
    assert not (tmp_path / "run").exists()


def test_a_frozen_backbone_needs_early_exits() -> None:
    with pytest.raises(ConfigError, match="--freeze backbone needs a model of several exits"):
        check_options(OptionConfig(freeze="backbone"), exits=1, epochs=1, stepwise=True)


def test_a_network_that_its_maker_froze_trains_its_new_heads(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", model="tests.training.setup.nets:locked")
    assert checked(run.config).name == "tests.training.setup.nets:locked"


def test_a_model_with_nothing_left_to_learn_is_refused() -> None:
    model = architecture("msdnet-tiny").model(10).requires_grad_(False)
    with pytest.raises(ConfigError, match="nothing is left to learn"):
        check_learning(model, "none")
    model.segment(2).head.requires_grad_(True)
    with pytest.raises(ConfigError, match="exit 1 has nothing left to learn"):
        check_learning(model, "none")


@pytest.mark.parametrize("method", ["joint", "meta-gf"])
def test_a_resumed_run_is_the_same_bit_for_bit(method: str, weights: Path, tmp_path: Path) -> None:
    options = {
        "freeze": "until:first", "init_weights": str(weights), "method": method, "epochs": 2, "distil": 1.0,
        "distil_from": "original", "backbone_lr": 0.1, "layer_decay": 0.5,
    }  # fmt: skip
    straight = run_of(tmp_path / "straight", **options)
    run, data = started(tmp_path / "stopped", FitConfig.model_validate({**NET, **options}))
    ticks = iter(range(0, 10**6, 3600))
    fit(Run(run.folder, run.config.model_copy(update={"max_minutes": 1.0}), run.facts), data,
        clock=lambda: next(ticks), show=NoProgress)  # fmt: skip
    weights.unlink()  # the run has all that it needs
    fit(*resumed(tmp_path / "stopped", {}), show=NoProgress)
    for name, tensor in Run.open(tmp_path / "stopped").model().state_dict().items():
        assert torch.equal(tensor, straight.model().state_dict()[name]), name


def test_a_frozen_run_is_exported_as_any_other(weights: Path, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", freeze="backbone", init_weights=str(weights))
    bundle = export(run, tmp_path / "bundle").bundle
    assert bundle.manifest.method.options["freeze"] == "backbone"
    assert str(weights) not in (bundle.folder / "manifest.json").read_text()
