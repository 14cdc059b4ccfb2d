"""A bundle is calibrated on other images: by class name, through the engine, in one step."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.bundle import read_bundle
from serving.bundle_check import check_bundle
from serving.engine.engine import Engine
from serving.images.decode import open_still, to_array
from tests.bundles import CLASSES, tiny_bundle, tiny_images
from training.calibrate import main
from training.calibration.collect import collect, engine_probabilities
from training.calibration.recalibrate import class_indices
from training.calibration.tables import compare
from training.errors import DataError

IMAGES = 10


def folder_of_images(folder: Path, classes: tuple[str, ...], seed: int = 0) -> Path:
    """Write IMAGES random 8x8 images of each class."""
    for place, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number, pixels in enumerate(tiny_images(IMAGES, seed + place)):
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def test_calibrating_on_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = tiny_bundle(tmp_path / "models" / "tiny")
    some = ("dog", "bee")  # not all classes, and in another order than the bundle's
    images = folder_of_images(tmp_path / "pets", some)
    out = tmp_path / "models" / "pets"
    assert main([str(old.folder), "--dataset", str(images), "--out", str(out)]) == 0
    assert "20 images of pets (all)" in capsys.readouterr().out
    new = read_bundle(out)
    assert [verdict.detail for verdict in check_bundle(out) if not verdict.ok] == []
    # What the calibration says is what the engine says of the same files.
    engine = Engine(new)
    expected = {}
    for name in some:
        files = sorted((images / name).iterdir())
        pixels = np.stack(
            [to_array(open_still(file.read_bytes()), old.manifest.preprocessing) for file in files]
        )
        expected[CLASSES.index(name)] = engine_probabilities(engine, pixels)
    for label, probabilities in expected.items():
        of_class = new.calibration.labels == label
        found = np.sort(new.calibration.confidence["max_probability"][of_class], axis=0)
        np.testing.assert_array_equal(found, np.sort(probabilities.max(-1), axis=0))
    assert set(new.calibration.labels) == expected.keys()
    assert new.manifest.calibration.source == "pets (all)"
    assert new.manifest.data_set == old.manifest.data_set
    for segment, before in zip(new.manifest.segments, old.manifest.segments, strict=True):
        assert segment.sha256 == before.sha256
    assert [s.validation_accuracy for s in new.manifest.segments] == list(new.calibration.accuracy)


def test_in_place(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "tiny").folder
    images = folder_of_images(tmp_path / "images", CLASSES)
    assert main([str(folder), "--dataset", str(images), "--split", "test"]) == 0
    new = read_bundle(folder)
    assert new.manifest.calibration.source == "images (test)"
    assert len(new.calibration.labels) == 8
    assert sorted(os.listdir(tmp_path)) == ["images", "tiny"]  # noqa: PTH208 - dot folders too


@pytest.mark.parametrize(
    ("classes", "text"),
    [
        (("ant", "cow"), "1 of its 2 classes are not the bundle's: cow; the bundle knows ant, bee, cat, dog"),
        (("3", "4"), "1 of its 2 classes are not the bundle's: 4;"),
    ],
)
def test_strange_classes_change_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], classes: tuple[str, ...], text: str
) -> None:
    folder = tiny_bundle(tmp_path / "tiny").folder
    before = (folder / "manifest.json").read_bytes()
    images = folder_of_images(tmp_path / "images", classes)
    assert main([str(folder), "--dataset", str(images)]) == 2
    assert text in capsys.readouterr().err
    assert (folder / "manifest.json").read_bytes() == before


def test_an_existing_bundle_at_out_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_bundle(tmp_path / "tiny").folder
    other = tiny_bundle(tmp_path / "other").folder
    words = [str(folder), "--dataset", "digits", "--out", str(other)]
    assert main(words) == 2
    assert "--force" in capsys.readouterr().err


def test_a_folder_that_is_no_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--dataset", "digits"]) == 2
    assert "manifest.json: is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("found", "classes", "expected"),
    [
        (("cat", "ant"), ("ant", "bee", "cat"), [2, 0]),
        (("0", "2"), ("ant", "bee", "cat"), [0, 2]),
        (("2", "0"), ("2", "1", "0"), [0, 2]),  # numbers that are names are names
    ],
)
def test_names_decide_then_numbers(
    found: tuple[str, ...], classes: tuple[str, ...], expected: list[int]
) -> None:
    assert class_indices("pets", found, classes).tolist() == expected


def test_two_images_are_needed() -> None:
    one = np.full((1, 3, 4), 0.25, np.float32), np.zeros(1, np.int64)
    with pytest.raises(DataError, match="at least 2 images"):
        collect([one])
    answers = collect([one, one])
    assert sorted(answers.certify.tolist()) == [False, True]


def test_the_half_kept_depends_on_the_seed_alone() -> None:
    def halves(seed: int, batch: int) -> list[bool]:
        answers = np.random.default_rng(0).dirichlet(np.ones(4), (12, 2)).astype(np.float32)
        labels = np.arange(12, dtype=np.int64) % 4
        parts = [(answers[i : i + batch], labels[i : i + batch]) for i in range(0, 12, batch)]
        result: list[bool] = collect(parts, seed).certify.tolist()
        return result

    assert halves(0, 12) == halves(0, 5) != halves(1, 12)


def test_the_comparison_is_on_images_that_no_threshold_was_fitted_on(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    for before, after in compare(bundle, bundle):
        assert before.expected_flops == after.expected_flops
        assert json.dumps(before.thresholds.tolist()) == json.dumps(after.thresholds.tolist())
        count = before.shares * bundle.calibration.certify.sum()
        np.testing.assert_allclose(count, count.round())
