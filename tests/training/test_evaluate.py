"""`training.evaluate` on a real run, and on a bundle with images of its own: files, figures and refusals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.bundle import read_bundle
from serving.engine.engine import Engine
from tests.bundles import CLASSES, EXIT_FLOPS, tiny_bundle, tiny_images
from tests.training.animals import animals
from training import evaluate, fit
from training.calibration.collect import engine_probabilities


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    settings = ["--dataset", "digits", "--method", "joint", "--epochs", "1", "--train-limit", "64"]
    assert fit.main([*settings, "--model", "msdnet-tiny", "--threads", "1", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def images_by_class(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A test folder of twelve images for each class of the tiny bundle, and two training images each."""
    return animals(tmp_path_factory.mktemp("animals"), train=2, test=12)


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())
    return found


def test_a_run_is_measured_on_its_test_images(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main([str(run), "--threads", "1"]) == 0
    found = read(run / "evaluation")
    assert (found["kind"], found["data_set"], found["split"], found["images"]) == (
        "run",
        "digits",
        "test",
        359,
    )
    assert (run / "evaluation" / "curve.png").exists()
    assert str(run / "evaluation") in capsys.readouterr().out.replace("\n", "")


def test_a_run_refuses_another_data_set(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main([str(run), "--dataset", "digits"]) == 2
    assert "leave out --dataset" in capsys.readouterr().err


def test_a_bundle_is_measured_with_the_engine_that_serves_it(tmp_path: Path, images_by_class: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    out = tmp_path / "out"
    dataset = ["--dataset", str(images_by_class)]
    assert evaluate.main([str(bundle.folder), *dataset, "--threads", "1", "--out", str(out)]) == 0
    found = read(out)
    assert (found["kind"], found["images"], found["name"]) == ("bundle", 48, "tiny")
    images = np.concatenate([tiny_images(12, seed=label) for label in range(len(CLASSES))])
    probabilities = engine_probabilities(Engine(bundle), images)
    right = probabilities.argmax(-1) == np.repeat(np.arange(len(CLASSES)), 12)[:, None]
    shown = [
        {name: row[name] for name in ("exit", "flops", "cut_flops", "accuracy")} for row in found["exits"]
    ]
    last = found["exits"][-1]
    assert (last["agreement"], last["overthinking"]) == (1, 0)
    assert {"auroc", "aurc", "ece"} < last.keys()
    assert found["overthinking"] == pytest.approx((right.any(1) & ~right[:, -1]).mean())
    assert found["areas"]["anytime"]["low"] <= found["areas"]["anytime"]["value"]
    assert shown == [
        {"exit": number, "flops": flops, "cut_flops": cut, "accuracy": pytest.approx(accuracy)}
        for number, (flops, cut, accuracy) in enumerate(
            zip(EXIT_FLOPS, (1_000, 2_900, 6_800), right.mean(0), strict=True), start=1
        )
    ]
    assert sorted(path.name for path in bundle.folder.iterdir()) == sorted(
        path.name for path in tiny_bundle(tmp_path / "untouched").folder.iterdir()
    )
    read_bundle(bundle.folder)


@pytest.mark.parametrize("policy", ["searched", "all"])
def test_another_policy_and_all_of_them(
    tmp_path: Path, images_by_class: Path, capsys: pytest.CaptureFixture[str], policy: str
) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    words = [str(bundle.folder), "--dataset", str(images_by_class), "--threads", "1", "--policy", policy]
    assert evaluate.main([*words, "--out", str(tmp_path / "out")]) == 0
    compared = (tmp_path / "out" / "policies.json").exists()
    assert compared == (policy == "all")
    assert ("policies.png" in capsys.readouterr().out) == compared


def test_a_run_compares_every_measure(run: Path, tmp_path: Path) -> None:
    assert evaluate.main([str(run), "--threads", "1", "--policy", "all", "--out", str(tmp_path)]) == 0
    candidates = json.loads((tmp_path / "policies.json").read_text())["candidates"]
    assert len({candidate["measure"] for candidate in candidates}) == 6 + 2, (
        "six measures, and two learned scores"
    )


def test_an_unknown_policy_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main([str(run), "--policy", "luck"]) == 2
    assert "--policy: Input should be 'geometric', 'searched' or 'all'" in capsys.readouterr().err


def test_a_bundle_refuses_images_of_other_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    assert evaluate.main([str(bundle.folder), "--dataset", "digits"]) == 2
    assert "expected the bundle's 4 classes (ant, bee, cat, dog" in capsys.readouterr().err


def test_a_bundle_is_not_measured_on_what_it_was_fitted_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    assert evaluate.main([str(bundle.folder), "--split", "validation"]) == 2
    assert "test images" in capsys.readouterr().err


def test_a_folder_that_is_neither_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main([str(tmp_path)]) == 2
    assert "not a run folder" in capsys.readouterr().err
