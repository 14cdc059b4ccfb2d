"""Plans are judged on images that no threshold was fitted on, with an interval that holds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from serving.bundle import Bundle
from serving.bundle.served_policy import expectation, served_policy
from serving.model import Model
from serving.policy.expectation import CrossFitted, HeldOut
from serving.policy.registry import Geometric, Searched, fit_policy
from tests.bundles import EXIT_FLOPS, tiny_bundle
from tests.serving.calibrations import FLOPS, table


def half_wrong(bundle: Bundle) -> Bundle:
    """Make the images that are fitted on all right, and those kept for certifying half wrong."""
    old = bundle.calibration
    kept = np.flatnonzero(old.certify)
    prediction = np.repeat(old.labels[:, None], len(EXIT_FLOPS), axis=1).astype(np.int32)
    prediction[kept[::2]] = (prediction[kept[::2]] + 1) % 4
    calibration = replace(old, prediction=prediction)
    segments = tuple(
        spec.model_copy(update={"validation_accuracy": accuracy})
        for spec, accuracy in zip(bundle.manifest.segments, calibration.accuracy, strict=True)
    )
    manifest = bundle.manifest.model_copy(update={"segments": segments})
    return replace(bundle, manifest=manifest, calibration=calibration)


def test_what_was_fitted_on_has_no_say_in_what_is_expected(tmp_path: Path) -> None:
    bundle = half_wrong(tiny_bundle(tmp_path / "tiny"))
    with Model.load(bundle) as model:
        for plan in (model.plan("50%"), model.plan("100%"), model.guarantee(0.3).plan):
            assert plan.expected_accuracy == pytest.approx(0.5, abs=0.01)
            low, high = plan.expected_accuracy_interval
            assert 0.42 < low < 0.5 < high < 0.58
            assert (plan.images, plan.judged_on) == (bundle.calibration.certify.sum(), "held out")


def test_thresholds_do_not_depend_on_it(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    with Model.load(bundle) as model:
        raw = served_policy(bundle.manifest, bundle.calibration).plan(3500)
        np.testing.assert_array_equal(model.plan("50%").thresholds, raw.thresholds)
        assert raw.judged_on == "fitted"


def test_without_certifying_images_plans_are_cross_fitted(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    none = replace(bundle.calibration, certify=np.zeros_like(bundle.calibration.certify))
    plan = served_policy(bundle.manifest, none).plan(3500)
    found = expectation(bundle.manifest, none)(plan)
    assert (found.judged_on, found.images) == ("cross-fitted", len(none.labels))
    np.testing.assert_array_equal(found.thresholds, plan.thresholds)
    assert found.shares.sum() == pytest.approx(1)


def test_cross_fitting_takes_luck_out() -> None:
    """Scores that say nothing: a free search finds what is not there, and cross-fitting does not."""
    random = np.random.default_rng(0)
    score = random.random((300, 4))
    correct = random.random((300, 4)) < 0.5
    searched = Searched(stiffness=1e-3)
    policy = fit_policy(searched, score, correct, FLOPS)
    judged = CrossFitted(searched, score, correct, FLOPS)
    budgets = np.linspace(15, 55, 8)
    lucky = np.mean([policy.plan(budget).expected_accuracy for budget in budgets])
    honest = np.mean([judged(policy.plan(budget)).expected_accuracy for budget in budgets])
    assert honest < lucky


def test_a_single_image_cannot_be_cross_fitted() -> None:
    one = table(1, seed=0)
    plan = fit_policy("geometric", one.score, one.correct, FLOPS).plan(60)
    assert CrossFitted(Geometric(), one.score, one.correct, FLOPS)(plan) is plan


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    world = table(40_000, seed=1)
    fitted = table(500, seed=2)
    plan = fit_policy("geometric", fitted.score, fitted.correct, FLOPS).plan(35)
    truth = HeldOut(world.score, world.correct, FLOPS)(plan).expected_accuracy
    random, held = np.random.default_rng(3), 0
    for _ in range(200):
        rows = random.integers(0, 40_000, 500)
        found = HeldOut(world.score[rows], world.correct[rows], FLOPS)(plan)
        held += found.expected_accuracy_interval[0] <= truth <= found.expected_accuracy_interval[1]
    assert held >= 0.93 * 200
