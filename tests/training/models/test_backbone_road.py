"""A torchvision network goes the whole road: settings, training, export, and the engine that serves it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from serving.bundle_check import check_bundle
from serving.engine.engine import Engine
from tests.training.small_runs import TINY, trained
from training.calibration.collect import engine_probabilities
from training.config import FitConfig
from training.errors import ConfigError
from training.exporting.export import MAX_DIFFERENCE, export
from training.fit import main
from training.runs.run import Run
from training.runs.start import started

RESNET = {
    "model": "torchvision:resnet18",
    "model_option": {},
    "exits": ["layer1", "layer2"],
    "image_size": 32,
    "method": "joint",
}


def test_from_settings_to_answers(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", **RESNET, epochs=1, train_limit=64, batch_size=32)

    exported = export(Run.open(run.folder), tmp_path / "resnet18")
    bundle = exported.bundle

    assert exported.difference.largest <= MAX_DIFFERENCE
    assert [verdict.detail for verdict in check_bundle(bundle.folder) if not verdict.ok] == []
    assert bundle.manifest.architecture.name == "torchvision:resnet18"
    assert bundle.manifest.architecture.options == {
        "exits": ["layer1", "layer2"],
        "image_size": 32,
        "pretrained": False,
        "evaluation": False,
        "head": "mean",
        "head_channels": 32,
    }
    images = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = torch.stack(run.model()(images), dim=1).softmax(-1).numpy()
    np.testing.assert_allclose(engine_probabilities(Engine(bundle), images.numpy()), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"exits": ["layer1", "layer7"]}, "cannot have an exit after 'layer7'"),
        ({"exits": []}, "expected at least one layer in --exits"),
        ({"pretrained": True, "init_from": "elsewhere"}, "both say which weights to start from"),
    ],
)
def test_nothing_begins_with_exits_that_cannot_be(
    changed: dict[str, object], says: str, tmp_path: Path
) -> None:
    config = FitConfig.model_validate({**TINY, **RESNET, **changed})

    with pytest.raises(ConfigError, match=says):
        started(tmp_path / "run", config)

    assert not (tmp_path / "run").exists()


def test_exits_are_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--dataset", "digits", "--model", "torchvision:resnet18", "--exits", "layer1,layr2"]

    assert main([*flags, "--image-size", "32", "--out", str(tmp_path / "run")]) == 2

    assert "did you mean layer2" in capsys.readouterr().err
