from pathlib import Path

import numpy as np
import pytest

from tests.training.small_runs import config
from training.comparison.contenders import read_contender
from training.comparison.runs import Measured, PlannedRun, RunResult
from training.comparison.summary import MethodSummary, Spread, View
from training.evaluation.curves import Point

JOINT = read_contender("joint")


def outcome(seed: int, accuracy: tuple[float, ...] | None, seconds: float = 60.0) -> RunResult:
    """A run of two epochs; without an accuracy it did not reach its end."""
    planned = PlannedRun(JOINT, Path(f"runs/joint-{seed}"), config(method="joint", seed=seed))
    if accuracy is None:
        return RunResult(planned, 0, 0.0, None, (), None, "the loss of exit 1 is nan")
    measured = Measured(
        epoch=2,
        data_set="digits",
        images=100,
        fitted_on="50 validation images",
        exit_flops=(1_000_000, 2_000_000),
        exit_accuracy=accuracy,
        curve=(
            Point(1e6, 1e6 + seed, accuracy[0], (1.0, 0.0)),
            Point(2e6, 2e6 - seed, accuracy[1], (0.0, 1.0)),
        ),
    )
    return RunResult(planned, 2, seconds, 100.0, ((seconds / 2, 0.2), (seconds, 0.4)), measured)


def test_means_and_spreads_are_over_the_runs_that_finished() -> None:
    standing = MethodSummary(JOINT, (outcome(0, (0.5, 0.7)), outcome(1, None), outcome(2, (0.7, 0.7), 80.0)))

    assert standing.accuracy is not None
    assert standing.accuracy.mean == pytest.approx([0.6, 0.7])
    assert standing.accuracy.std == pytest.approx([0.02**0.5, 0.0])
    assert standing.average is not None
    assert standing.average.mean == pytest.approx(0.65)
    assert standing.seconds is not None
    assert standing.seconds.mean == pytest.approx(70)
    assert standing.failures == ["joint seed 1: the loss of exit 1 is nan"]


def test_the_curve_is_a_mean_of_costs_and_accuracies() -> None:
    curve = MethodSummary(JOINT, (outcome(0, (0.5, 0.7)), outcome(2, (0.7, 0.9)))).curve()

    assert curve is not None
    flops, accuracy = curve
    assert flops.tolist() == [1e6 + 1, 2e6 - 1]
    assert accuracy.mean == pytest.approx([0.6, 0.8])


def test_one_seed_has_no_spread() -> None:
    assert Spread.of([[0.5, 0.7]]).std is None


def test_a_contender_that_failed_everywhere_has_nothing_to_show() -> None:
    standing = MethodSummary(JOINT, (outcome(0, None),))

    assert (standing.accuracy, standing.average, standing.seconds) == (None, None, None)
    assert (standing.curve(), standing.learning(), standing.images_per_second) == (None, None, None)
    assert View("epochs", "equal epochs", (standing,)).exit_flops == ()


def test_learning_goes_as_far_as_every_seed_went() -> None:
    short, long = outcome(0, (0.5, 0.7)), outcome(1, (0.5, 0.7), 100.0)
    longer = RunResult(long.planned, 3, 150.0, 90.0, (*long.learning, (150.0, 0.5)), long.measured)

    found = MethodSummary(JOINT, (short, longer)).learning()

    assert found is not None
    seconds, accuracy = found
    assert seconds == pytest.approx([40, 80])
    assert accuracy.mean == pytest.approx([0.2, 0.4])
    assert isinstance(accuracy.std, np.ndarray)
