"""A gallery sorts every image by the exit it leaves at, draws a seeded few, and frames the wrong answers."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.bundle.served_policy import served_policy
from serving.engine.engine import Engine
from serving.errors import BudgetError
from serving.policy.plan import evaluate_thresholds
from tests.bundles import CLASSES, EXIT_FLOPS, tiny_bundle, tiny_images
from tests.training.animals import animals
from training import gallery
from training.calibration.collect import engine_probabilities
from training.evaluation.config import GalleryConfig
from training.evaluation.evaluation import Scored
from training.evaluation.exit_gallery import Shown, draw, sort_out

IMAGES = 300


def sorted_rows(tmp_path: Path, **settings: object) -> list[Shown]:
    bundle = tiny_bundle(tmp_path / "tiny")
    pixels = tiny_images(IMAGES, seed=3)
    labels = np.random.default_rng(1).integers(0, len(CLASSES), IMAGES)
    probabilities = engine_probabilities(Engine(bundle), pixels)
    return sort_out(bundle, pixels, probabilities, labels, GalleryConfig.model_validate(settings))


def test_shares_and_accuracies_are_those_of_the_thresholds_in_service(tmp_path: Path) -> None:
    rows = sorted_rows(tmp_path, budget="60%")
    bundle = tiny_bundle(tmp_path / "again" / "tiny")
    labels = np.random.default_rng(1).integers(0, len(CLASSES), IMAGES)
    scored = Scored.of(
        engine_probabilities(Engine(bundle), tiny_images(IMAGES, seed=3)), labels, bundle.scorer
    )
    policy = served_policy(bundle.manifest, bundle.calibration)
    plan = evaluate_thresholds(scored.score, scored.correct, EXIT_FLOPS, policy.plan(4200).thresholds, 4200)
    assert [row.share for row in rows] == pytest.approx(plan.shares.tolist())
    answered = sum(row.share * row.accuracy for row in rows if row.share)
    assert answered == pytest.approx(plan.expected_accuracy)


def test_a_seed_draws_the_same_images_and_another_seed_others(tmp_path: Path) -> None:
    drawn = [sorted_rows(tmp_path / str(n), columns=5, seed=seed) for n, seed in enumerate((0, 0, 1))]
    images = [np.concatenate([row.images for row in rows]) for rows in drawn]
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])
    assert all(len(row.images) == len(row.answers) == len(row.right) <= 5 for row in drawn[0])


def test_at_full_depth_only_the_last_row_has_images(tmp_path: Path) -> None:
    rows = sorted_rows(tmp_path, budget="100%", columns=3)
    assert [len(row.images) for row in rows] == [0, 0, 3]
    draw(tmp_path / "made" / "gallery.png", "full depth", rows, 3)
    with Image.open(tmp_path / "made" / "gallery.png") as picture:
        assert picture.format == "PNG"


def test_a_budget_under_the_cheapest_exit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="cheapest exit"):
        sorted_rows(tmp_path, budget="1%")


def test_the_command_writes_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = animals(tmp_path / "images", train=2, test=4)
    bundle, out = tiny_bundle(tmp_path / "models" / "tiny"), tmp_path / "gallery.png"
    words = [str(bundle.folder), "--dataset", str(images), "--columns", "4", "--out", str(out)]
    assert gallery.main(words) == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    assert gallery.main([str(bundle.folder), "--budget", "cheap"]) == 2
    assert "error: " in capsys.readouterr().err
