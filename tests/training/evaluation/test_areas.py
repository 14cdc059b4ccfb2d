"""Areas under curves: by hand, and intervals that hold."""

import numpy as np
import pytest

from training.evaluation.areas import area_line, areas

FLOPS = (10, 20, 40)


def rows(*shares: float, images: int = 100) -> np.ndarray:
    return np.array([np.arange(images) < share * images for share in shares])


def test_both_areas_by_hand() -> None:
    budgeted, spent = rows(0.5, 0.7, 0.9), np.array([10.0, 20.0, 40.0])
    correct = rows(0.5, 0.6, 0.8).T

    found = areas(budgeted, spent, correct, FLOPS)

    assert found.budgeted.value == pytest.approx((0.6 * 10 + 0.8 * 20) / 30)
    assert found.anytime.value == pytest.approx((0.5 * 10 + 0.6 * 20) / 30)
    for area in (found.budgeted, found.anytime):
        assert area.low < area.value < area.high
    assert "budgeted 73.33 (" in area_line(found)
    assert areas(budgeted, spent, correct, FLOPS) == found, "the bootstrap is seeded"


def test_a_single_exit_has_its_accuracy() -> None:
    found = areas(rows(0.7), np.array([10.0]), rows(0.7).T, (10,))
    assert found.budgeted.value == found.anytime.value == pytest.approx(0.7)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    random, held = np.random.default_rng(0), 0
    for seed in range(40):
        drawn = random.random((300, 1)) < np.array([0.5, 0.6, 0.8])
        area = areas(drawn.T, np.array([10.0, 20.0, 40.0]), drawn, FLOPS, seed).anytime
        held += area.low <= (0.5 * 10 + 0.6 * 20) / 30 <= area.high
    assert held >= 34
