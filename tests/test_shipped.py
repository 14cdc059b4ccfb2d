"""The bundles that come with the project: small, whole, and as good as their cards and the README say."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.bundle import Bundle, read_bundle
from serving.bundle_check import check_bundle
from serving.engine.engine import Engine
from serving.model import Model, ServingConfig
from training.evaluation.config import EvaluateConfig
from training.evaluation.measure import data_of, served

ROOT = Path(__file__).parents[1]
SHIPPED = ("cifar10-msdnet", "cifar10-msdnet-int8")
MOST_BYTES = 12_000_000
# Of answers: another CPU rounds in another way, and an image that is as likely one thing as another may turn.
ROUNDING = 0.001


@pytest.fixture(params=SHIPPED)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return read_bundle(ROOT / "exported_models" / request.param)


def test_together_they_are_small() -> None:
    files = [path for name in SHIPPED for path in (ROOT / "exported_models" / name).iterdir()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES


def test_each_passes_every_check(bundle: Bundle) -> None:
    assert [verdict for verdict in check_bundle(bundle.folder) if not verdict.ok] == []


def test_the_card_says_what_was_measured(bundle: Bundle) -> None:
    measured = json.loads((bundle.folder / "evaluation.json").read_text())
    card = (bundle.folder / "README.md").read_text()
    assert tuple(row["flops"] for row in measured["exits"]) == bundle.manifest.exit_flops
    for row in measured["exits"]:
        assert f"| {row['exit']} | {row['flops'] / 1e6:.2f} | {100 * row['accuracy']:.2f} |" in card


def test_every_exit_is_right_as_often_as_the_card_says(bundle: Bundle, cifar_root: Path) -> None:
    data = data_of(bundle, EvaluateConfig(dataset=str(cifar_root / "cifar10"), batch_size=32))
    probabilities, labels = served(Engine(bundle, threads=1), data.test())
    found = (probabilities.argmax(axis=2) == labels[:, None]).mean(axis=0)
    measured = json.loads((bundle.folder / "evaluation.json").read_text())
    assert measured["images"] == len(labels) == 10_000
    expected = [row["accuracy"] for row in measured["exits"]]
    np.testing.assert_allclose(found, expected, atol=ROUNDING)


def test_make_serve_answers_by_one_of_them() -> None:
    dry = subprocess.run(["make", "-n", "serve"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    assert f"--default-model {SHIPPED[0]}" in dry.stdout


def examples() -> list[tuple[str, str, dict[str, str]]]:
    """The README's requests about images in the box: the image, the budget, and what is answered."""
    readme = (ROOT / "README.md").read_text()
    request = r"--data-binary @(docs/images/\S+) [^?]*\?budget=(\w+)'\n# (\{[^\n]*)"
    found = re.findall(request, readme)
    return [
        (image, budget, dict(re.findall(r'"(\w+)": "?([\w.]+)', answer))) for image, budget, answer in found
    ]


@pytest.mark.parametrize(("image", "budget", "answer"), examples())
def test_the_readme_s_requests_are_answered_as_it_says(
    image: str, budget: str, answer: dict[str, str]
) -> None:
    pixels = np.asarray(Image.open(ROOT / image).convert("RGB"))[np.newaxis]
    with Model.load(
        ROOT / "exported_models" / SHIPPED[0], threads=1, rules=ServingConfig(controller=False)
    ) as model:
        (found,) = model.classify(pixels, budget=budget)
    assert answer["class_name"] == found.class_name
    assert int(answer["exit"]) == found.exit
    assert int(answer["flops"]) == found.flops
    assert f"{found.confidence:.4f}".startswith(answer["confidence"])


def test_the_readme_asks_about_images() -> None:
    assert len(examples()) >= 2
