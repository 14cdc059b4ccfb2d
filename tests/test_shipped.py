"""The bundles that come with the project: small, whole, and as good as their cards and the README say."""

import json
import os
import re
import subprocess
import zlib
from collections.abc import Callable, Sequence
from itertools import islice
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.bundle import Bundle, read_bundle
from serving.bundle_check import check_bundle
from serving.engine.engine import Engine
from serving.model import Model, ServingConfig
from training.data.feeds import Batch
from training.evaluation.config import EvaluateConfig
from training.evaluation.measure import data_of, served

ROOT = Path(__file__).parents[1]
INT8 = ("cifar10-ladder-int8", "cifar10-msdnet-int8", "cifar10-resnet9-int8")
SHIPPED = ("cifar10-ladder", *INT8, "cifar100-ladder-int8")
DEFAULT = "cifar10-ladder-int8"
MOST_BYTES = 16_000_000
MOST_LOST_TO_INT8 = 0.005
# Of answers: another CPU rounds in another way, and an image that is as likely one thing as another may turn.
ROUNDING = 0.001
ALL_TEST_IMAGES = 10_000
# The first of them, as a sample; `make figures` takes all, and then the figures must be the card's.
TEST_IMAGES = int(os.environ.get("TEST_IMAGES", "1000"))


@pytest.fixture(params=SHIPPED)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return read_bundle(ROOT / "exported_models" / request.param)


def test_together_they_are_small() -> None:
    files = [path for name in SHIPPED for path in (ROOT / "exported_models" / name).iterdir()]
    assert sum(len(zlib.compress(path.read_bytes())) for path in files) < MOST_BYTES  # as git keeps them


def test_they_are_all_that_git_takes() -> None:
    listing = subprocess.run(
        ["git", "ls-files", "exported_models/*/manifest.json"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listing.returncode:
        pytest.skip("not a git checkout: nothing is tracked here")
    assert {Path(path).parent.name for path in listing.stdout.split()} == set(SHIPPED)


def test_none_names_a_place_of_the_machine_that_made_it(bundle: Bundle) -> None:
    assert bundle.manifest.data_set.name == bundle.name.partition("-")[0]
    for name in ("manifest.json", "evaluation.json", "README.md"):
        assert not re.search(r"[\"'\s=](/|[A-Z]:\\)\w", (bundle.folder / name).read_text())


@pytest.mark.parametrize("name", INT8)
def test_int8_loses_at_most_half_a_point_at_every_exit(name: str) -> None:
    manifest = read_bundle(ROOT / "exported_models" / name).manifest
    for before, segment in zip(manifest.float_validation_accuracy or (), manifest.segments, strict=True):
        assert segment.validation_accuracy >= before - MOST_LOST_TO_INT8


def test_int8_loses_at_most_half_a_point_on_the_test_images() -> None:
    exact, lowered = (
        json.loads((ROOT / "exported_models" / folder / "evaluation.json").read_text())["exits"]
        for folder in ("cifar10-ladder", "cifar10-ladder-int8")
    )
    for before, after in zip(exact, lowered, strict=True):
        assert after["accuracy"] >= before["accuracy"] - MOST_LOST_TO_INT8


def test_each_passes_every_check(bundle: Bundle) -> None:
    assert [verdict for verdict in check_bundle(bundle.folder) if not verdict.ok] == []


def test_the_card_says_what_was_measured(bundle: Bundle) -> None:
    measured = json.loads((bundle.folder / "evaluation.json").read_text())
    card = (bundle.folder / "README.md").read_text()
    assert tuple(row["flops"] for row in measured["exits"]) == bundle.manifest.exit_flops
    for row in measured["exits"]:
        assert f"| {row['exit']} | {row['flops'] / 1e6:.2f} | {100 * row['accuracy']:.2f} |" in card


@pytest.fixture(scope="module")
def batches(cifar_root: Path) -> Callable[[Bundle], Sequence[Batch]]:
    """Return a function from a bundle to its test images; bundles of the same data share them."""
    known: dict[str, Sequence[Batch]] = {}

    def batches_of(bundle: Bundle) -> Sequence[Batch]:
        facts, spec = bundle.manifest.data_set, bundle.manifest.preprocessing
        key = f"{facts} {spec} {bundle.manifest.classes}"
        if key not in known:
            config = EvaluateConfig(dataset=str(cifar_root / facts.name), batch_size=32)
            known[key] = list(islice(data_of(bundle, config).test(), ceil(TEST_IMAGES / 32)))
        return known[key]

    return batches_of


def test_every_exit_is_right_as_often_as_the_card_says(
    bundle: Bundle, batches: Callable[[Bundle], Sequence[Batch]]
) -> None:
    probabilities, labels = served(Engine(bundle, threads=1), batches(bundle))
    found = (probabilities.argmax(axis=2) == labels[:, None]).mean(axis=0)
    measured = json.loads((bundle.folder / "evaluation.json").read_text())
    assert measured["images"] == ALL_TEST_IMAGES
    assert len(labels) >= TEST_IMAGES
    expected = np.array([row["accuracy"] for row in measured["exits"]])
    unseen = 1 - len(labels) / ALL_TEST_IMAGES
    sampling = 4 * np.sqrt(unseen * expected * (1 - expected) / len(labels))
    assert np.all(abs(found - expected) <= sampling + ROUNDING), (found, expected)


def test_make_serve_answers_by_one_of_them() -> None:
    dry = subprocess.run(["make", "-n", "serve"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    assert f"--default-model {DEFAULT} " in dry.stdout


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
        ROOT / "exported_models" / DEFAULT, threads=1, rules=ServingConfig(controller=False)
    ) as model:
        (found,) = model.classify(pixels, budget=budget)
    assert answer["class_name"] == found.class_name
    assert int(answer["exit"]) == found.exit
    assert int(answer["flops"]) == found.flops
    assert f"{found.confidence:.4f}".startswith(answer["confidence"])


def test_the_readme_asks_about_images() -> None:
    assert len(examples()) >= 2
