"""Which policy a bundle is served with, and what of its calibration it is fitted on."""

from dataclasses import replace

import numpy as np
import pytest

from serving.bundle import Calibration, Manifest, Named
from serving.bundle.served_policy import read_policy, served_policy
from serving.errors import BundleError
from serving.policy.registry import POLICIES, Geometric, Searched, fit_policy
from tests.bundles import EXIT_FLOPS, tiny_calibration, tiny_manifest

BUDGET = 4_000.0


def manifest(policy: Named, measure: str = "max_probability") -> Manifest:
    spec = tiny_manifest().calibration.model_copy(update={"policy": policy, "confidence": measure})
    return tiny_manifest().model_copy(update={"calibration": spec})


def thresholds(
    policy: Named, name: str | None = None, calibration: Calibration | None = None, measure: str = "margin"
) -> list[float]:
    fitted = served_policy(manifest(policy, measure), calibration or tiny_calibration(), name)
    found: list[float] = fitted.plan(BUDGET).thresholds.tolist()
    return found


def test_a_policy_is_read_with_its_options() -> None:
    assert read_policy(Named(name="geometric")) == Geometric()
    assert read_policy(Named(name="searched", options={"stiffness": 7})) == Searched(stiffness=7)
    assert set(POLICIES) == {"geometric", "searched"}


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (Named(name="luck"), r"expected a policy out of \['geometric', 'searched'\]; found 'luck'"),
        (Named(name="geometric", options={"q": 1}), "options of the policy 'geometric' .* q: Extra inputs"),
        (Named(name="searched", options={"stiffness": 0}), "stiffness: Input should be greater than 0"),
        (Named(name="searched", options={"stiffness": float("inf")}), "stiffness: Input should be a finite"),
    ],
)
def test_what_is_no_policy(policy: Named, text: str) -> None:
    with pytest.raises(BundleError, match=text):
        read_policy(policy)


def test_the_manifest_decides_unless_the_server_does() -> None:
    geometric, searched = Named(name="geometric"), Named(name="searched", options={"stiffness": 1.0})
    assert thresholds(geometric) != thresholds(searched)
    assert thresholds(searched, "geometric") == thresholds(geometric)
    assert thresholds(searched, "searched") == thresholds(searched)  # by its own stiffness
    assert thresholds(geometric, "searched") == thresholds(Named(name="searched"))


def test_the_measure_is_the_manifest_s() -> None:
    policy = Named(name="geometric")
    assert thresholds(policy, measure="margin") != thresholds(policy, measure="entropy")


@pytest.mark.parametrize("name", POLICIES)
def test_images_kept_for_certifying_have_no_say(name: str) -> None:
    whole = tiny_calibration()
    kept = whole.certify
    confidence = {measure: values.copy() for measure, values in whole.confidence.items()}
    for values in confidence.values():
        values[kept] = 0.5
    labels = np.where(kept, 0, whole.labels)
    assert thresholds(Named(name=name)) == thresholds(
        Named(name=name), calibration=replace(whole, confidence=confidence, labels=labels)
    )


def test_a_policy_is_fitted_by_name_or_as_it_is() -> None:
    calibration = tiny_calibration()
    score, correct = calibration.score("margin"), calibration.correct
    by_name = fit_policy("searched", score, correct, EXIT_FLOPS).plan(BUDGET)
    np.testing.assert_array_equal(
        by_name.thresholds, fit_policy(Searched(), score, correct, EXIT_FLOPS).plan(BUDGET).thresholds
    )
