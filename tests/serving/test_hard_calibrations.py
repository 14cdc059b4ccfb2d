"""Calibration sets that real life brings: saturated, tied, tiny, one-sided; answered sensibly or refused."""

import contextlib
import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from serving.bundle import Calibration, Manifest, Named
from serving.bundle.bundle import Bundle
from serving.bundle.served_policy import served_policy
from serving.errors import BudgetError, BundleError, TermsError
from serving.judgements import JUDGEMENTS
from serving.options import ServingConfig
from serving.planner import Planner
from tests.bundles import CLASSES, EXIT_FLOPS, tiny_calibration, tiny_manifest

EXITS = len(EXIT_FLOPS)
KINDS = ("plain", "saturated", "equal", "few values", "zero")
"""How the confidences of an exit are."""


@st.composite
def calibrations(draw: st.DrawFn) -> Calibration:
    """Draw calibrations of 1 to 40 images, each exit with confidences and answers of its own kind."""
    images = draw(st.sampled_from([1, 2, 3, 10, 40]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    present = draw(st.integers(1, len(CLASSES)))  # the others never occur
    labels = random.integers(0, present, images)
    prediction, confidence = np.empty((images, EXITS), np.int32), np.empty((images, EXITS), np.float32)
    for exit_index in range(EXITS):
        confidence[:, exit_index] = confidences(draw(st.sampled_from(KINDS)), images, random)
        right = random.random(images) < draw(st.sampled_from([0.0, 0.5, 1.0]))
        prediction[:, exit_index] = np.where(right, labels, (labels + 1) % len(CLASSES))
    certify = random.random(images) < draw(st.sampled_from([0.0, 0.5]))
    certify[random.integers(images)] = False  # one is left to fit on, as validation demands
    names = ("max_probability", "margin", "entropy")
    return Calibration(
        labels=labels,
        prediction=prediction,
        confidence=dict.fromkeys(names, confidence),
        temperature={name: np.ones(EXITS) for name in names},
        certify=certify,
    )


def confidences(kind: str, images: int, random: np.random.Generator) -> npt.NDArray[np.float32]:
    if kind == "saturated":
        return np.ones(images, np.float32)
    if kind == "equal":
        return np.full(images, random.random(), np.float32)
    if kind == "few values":
        return random.choice(np.array([0.25, 0.5, 1.0], np.float32), images)
    if kind == "zero":
        return np.zeros(images, np.float32)
    return random.random(images, dtype=np.float32)


def bundle_of(calibration: Calibration, policy: str) -> Bundle:
    manifest: Manifest = tiny_manifest()
    segments = tuple(
        spec.model_copy(update={"validation_accuracy": accuracy})
        for spec, accuracy in zip(manifest.segments, calibration.accuracy, strict=True)
    )
    spec = manifest.calibration.model_copy(update={"policy": Named(name=policy)})
    changed = manifest.model_copy(update={"segments": segments, "calibration": spec})
    calibration.validate(len(CLASSES), EXITS, "max_probability")
    return Bundle(Path("tiny"), changed, calibration, Path())


POLICIES = st.sampled_from(["geometric", "searched"])


@pytest.mark.fuzz
@given(calibrations(), POLICIES, st.floats(0, 1.2))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_plan_keeps_its_budget_and_says_what_it_costs(
    calibration: Calibration, policy: str, share: float
) -> None:
    bundle = bundle_of(calibration, policy)
    costs = bundle.manifest.exit_flops
    budget = costs[0] + share * (costs[-1] - costs[0])
    plan = served_policy(bundle.manifest, calibration).plan(budget)
    assert plan.thresholds.shape == (EXITS,)
    assert not np.isnan(plan.thresholds).any()
    assert costs[0] - 1e-6 <= plan.expected_flops <= min(budget, costs[-1]) * (1 + 1e-9) + 1e-6
    assert 0 <= plan.expected_accuracy <= 1
    assert plan.shares.sum() == pytest.approx(1)
    assert plan.expected_flops == pytest.approx(float(plan.shares @ np.array(costs)))


@pytest.mark.fuzz
@given(calibrations(), POLICIES)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_more_budget_never_lowers_a_threshold(calibration: Calibration, policy: str) -> None:
    bundle = bundle_of(calibration, policy)
    plans = served_policy(bundle.manifest, calibration)
    budgets = np.linspace(bundle.manifest.exit_flops[0], bundle.manifest.exit_flops[-1], 9)
    for plan, richer in pairwise([plans.plan(float(budget)) for budget in budgets]):
        assert (richer.thresholds >= plan.thresholds).all()


@pytest.mark.fuzz
@given(calibrations(), POLICIES, st.sampled_from([1e-9, 0.01, 0.2, 0.999]), st.sampled_from([None, "50%"]))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_guarantee_is_proven_or_refused_by_name(
    calibration: Calibration, policy: str, max_drop: float, budget: str | None
) -> None:
    bundle = bundle_of(calibration, policy)
    planner = Planner(bundle, ServingConfig(), None)
    try:
        guaranteed = planner.guarantee(max_drop, budget)
    except (TermsError, BudgetError):
        return
    certificate = dataclasses.asdict(guaranteed.certificate)
    assert not any(isinstance(value, float) and np.isnan(value) for value in certificate.values())
    assert not np.isnan(guaranteed.plan.thresholds).any()
    assert guaranteed.plan.expected_flops <= bundle.manifest.exit_flops[-1] * (1 + 1e-9)


@pytest.mark.fuzz
@given(calibrations(), POLICIES)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_the_check_has_an_answer(calibration: Calibration, policy: str) -> None:
    bundle = bundle_of(calibration, policy)
    for judge in JUDGEMENTS.values():
        with contextlib.suppress(BundleError):
            assert judge(bundle)


def test_exits_that_cost_the_same_are_refused_by_name() -> None:
    manifest = tiny_manifest()
    free = manifest.segments[1].model_copy(update={"body_flops": 0, "head_flops": 0})
    segments = (manifest.segments[0], free, manifest.segments[2])
    with pytest.raises(ValidationError, match="segment 2 must cost more than 0 FLOPs"):
        Manifest.model_validate(
            {**manifest.model_dump(), "segments": [spec.model_dump() for spec in segments]}
        )
    bundle = dataclasses.replace(
        bundle_of(tiny_calibration(), "geometric"),
        manifest=manifest.model_copy(update={"segments": segments}),
    )
    with pytest.raises(BundleError, match="FLOPs must be positive and rise from exit to exit"):
        JUDGEMENTS["FLOPs"](bundle)


@pytest.mark.parametrize("flops", [10**15 + 1, 2**63, 10**30])
def test_costs_that_no_network_has_are_refused_by_name(flops: int) -> None:
    document = tiny_manifest().model_dump()
    document["segments"][1]["body_flops"] = flops
    with pytest.raises(ValidationError, match="less than or equal to 1000000000000000"):
        Manifest.model_validate(document)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1, 1.1])
def test_confidences_that_are_none_are_refused(value: float) -> None:
    confidence = np.full((4, EXITS), 0.5, np.float32)
    confidence[1, 1] = value
    calibration = Calibration(
        labels=np.arange(4),
        prediction=np.zeros((4, EXITS), np.int32),
        confidence={"max_probability": confidence},
        temperature={"max_probability": np.ones(EXITS)},
        certify=np.array([True, False, True, False]),
    )
    with pytest.raises(BundleError, match=r"must lie in \[0, 1\]"):
        calibration.validate(len(CLASSES), EXITS, "max_probability")


def test_no_images_are_refused() -> None:
    calibration = Calibration(
        labels=np.empty(0, np.int64),
        prediction=np.empty((0, EXITS), np.int32),
        confidence={"max_probability": np.empty((0, EXITS), np.float32)},
        temperature={"max_probability": np.ones(EXITS)},
        certify=np.empty(0, np.bool_),
    )
    with pytest.raises(BundleError):
        calibration.validate(len(CLASSES), EXITS, "max_probability")
