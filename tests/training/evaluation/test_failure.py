"""What confidence tells of failures: by hand, and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from training.evaluation.failure import (
    aurc,
    auroc,
    exit_quality,
    expected_calibration_error,
    overthinking,
    quality_rows,
)


@settings(deadline=None)
@given(st.integers(0, 1_000), st.integers(2, 60), st.sampled_from([3, 1_000_000]))
def test_auroc_is_scikit_learns(seed: int, images: int, levels: int) -> None:
    random = np.random.default_rng(seed)
    score, correct = random.integers(0, levels, images) / levels, random.random(images) < 0.6
    if correct.all() or not correct.any():
        assert auroc(score, correct) is None
    else:
        assert auroc(score, correct) == pytest.approx(roc_auc_score(correct, score))


def test_aurc_by_hand() -> None:
    # Coverage 1/3, 2/3 and 1 have errors 0, 1/2 and 1/3.
    score, correct = np.array([0.9, 0.8, 0.1]), np.array([True, False, True])
    assert aurc(score, correct) == pytest.approx((0 + 1 / 2 + 1 / 3) / 3)
    # Of equals any order is possible: the mean error at every coverage is that of all.
    assert aurc(np.zeros(4), np.array([True, False, True, False])) == pytest.approx(0.5)
    assert aurc(score, np.ones(3, np.bool_)) == 0


def test_a_better_order_has_a_lower_aurc() -> None:
    correct = np.arange(100) < 80
    assert aurc(-np.arange(100.0), correct) < aurc(np.sin(np.arange(100.0)), correct)
    assert aurc(np.sin(np.arange(100.0)), correct) < aurc(np.arange(100.0), correct)


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.95, 0.95, 0.55, 0.55])
    correct = np.array([True, True, True, False])
    assert expected_calibration_error(confidence, correct) == pytest.approx((0.05 * 2 + 0.05 * 2) / 4)
    assert expected_calibration_error(np.ones(4), np.zeros(4, np.bool_)) == 1


def test_agreement_and_overthinking() -> None:
    one_hot = np.eye(3, dtype=np.float32)
    answers = np.array([[0, 0], [0, 1], [2, 1], [1, 1]])  # the classes of two exits
    labels = np.array([0, 0, 0, 1])

    first, last = exit_quality(one_hot[answers], labels, np.array([[0.9, 0.8, 0.7, 0.6]] * 2).T)

    assert (first.agreement, first.overthinking) == (0.5, 0.25)
    assert (last.agreement, last.overthinking) == (1, 0)
    assert overthinking(answers == labels[:, None]) == 0.25
    assert quality_rows([first])[0][0] == "1"
    assert quality_rows([first])[0][-1] == "25.00"
