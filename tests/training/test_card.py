"""A model card says what was measured, in the bundle's own folder, and leaves the bundle as it was."""

import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, ModelCardData

from serving.bundle import read_bundle
from serving.bundle_check import check_bundle
from tests.bundles import tiny_bundle, tiny_samples
from tests.training.animals import animals
from training import card, evaluate
from training.evaluation.model_card import BUDGETS


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return animals(tmp_path_factory.mktemp("animals"), train=2, test=6)


@pytest.fixture(scope="module")
def folder(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = tiny_bundle(tmp_path_factory.mktemp("models") / "tiny", samples=tiny_samples())
    assert card.main([str(bundle.folder), "--dataset", str(images), "--threads", "1"]) == 0
    return bundle.folder


def test_the_card_holds_what_the_evaluation_measured(folder: Path, images: Path, tmp_path: Path) -> None:
    text = (folder / "README.md").read_text()
    words = [str(folder), "--dataset", str(images), "--threads", "1", "--out", str(tmp_path)]
    assert evaluate.main([*words, "--budgets", "50%"]) == 0
    expected = json.loads((tmp_path / "evaluation.json").read_text())
    for row in expected["exits"]:
        assert f"| {row['exit']} | {row['flops'] / 1e6:.2f} | {100 * row['accuracy']:.2f} |" in text
    (half,) = [point for point in expected["curve"] if point["budget_flops"] == 3500]
    assert f"| 50% | 0.00 | {half['spent_flops'] / 1e6:.2f} | {100 * half['accuracy']:.2f} |" in text


def test_the_measurement_is_kept_beside_it(folder: Path) -> None:
    kept = json.loads((folder / "evaluation.json").read_text())
    assert (kept["kind"], kept["images"]) == ("bundle", 24)
    assert {7000.0 * share for share in BUDGETS} <= {point["budget_flops"] for point in kept["curve"]}


def test_data_recipe_and_limits_are_named(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    for word in ("## Data", "synthetic", "## Recipe", '"method": "none"', "## Limits", "ant, bee, cat, dog"):
        assert word in text
    assert " 3 of these, drawn at random, are in `samples.npz`, to try the network with;" in text


def test_the_metadata_are_those_of_the_hub(folder: Path) -> None:
    card = ModelCard((folder / "README.md").read_text())
    data = card.data
    assert isinstance(data, ModelCardData)
    assert (data.license, data.pipeline_tag) == ("unknown", "image-classification")
    assert data.library_name == "offramp"
    evaluation = json.loads((folder / "evaluation.json").read_text())
    full = [point["accuracy"] for point in evaluation["curve"] if point["budget_flops"] == 7000]
    measured = {result.metric_name: result.metric_value for result in data.eval_results or ()}
    assert measured["accuracy, 100% of the FLOPs"] == pytest.approx(full[0], abs=1e-4)
    assert card.text.strip().startswith("# tiny\n")


def test_the_bundle_still_reads_and_passes_the_judge(folder: Path) -> None:
    read_bundle(folder)
    assert [verdict.detail for verdict in check_bundle(folder) if not verdict.ok] == []


def test_what_is_no_bundle_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert card.main([str(tmp_path)]) == 2
    assert "error: bundle" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
