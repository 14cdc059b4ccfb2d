"""Confidence measures and tie breaks: golden values, ranges, and what scores promise to thresholds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from serving.interfaces import FloatArray
from serving.policy.confidence import (
    CONFIDENCE,
    MEASURES,
    TIE,
    Scorer,
    calibration_score,
    confidence,
    scale,
    score,
    tie_break,
)

ROWS = np.array([[0.5, 0.25, 0.25], [1, 0, 0], [1 / 3, 1 / 3, 1 / 3]], np.float32)

logits = arrays(
    np.float32, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.floats(-60, 60, width=32)
)


def softmax(values: FloatArray) -> FloatArray:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    probabilities: FloatArray = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ("max_probability", [0.5, 1, 1 / 3]),
        ("margin", [0.25, 1, 0]),
        ("entropy", [1 - 1.5 * np.log(2) / np.log(3), 1, 0]),
    ],
)
def test_golden_values(measure: str, expected: list[float]) -> None:
    np.testing.assert_allclose(CONFIDENCE[measure](ROWS), expected, atol=1e-6)


@pytest.mark.parametrize("measure", CONFIDENCE)
@given(logits=logits)
def test_confidences_and_scores_stay_in_range(measure: str, logits: FloatArray) -> None:
    confidence = CONFIDENCE[measure](softmax(logits))
    assert confidence.dtype == np.float32
    assert np.all((confidence >= 0) & (confidence <= 1))
    scores = score(softmax(logits), measure)
    assert np.all((scores >= confidence) & (scores < confidence.astype(np.float64) + TIE))


@pytest.mark.parametrize("measure", MEASURES)
@given(logits=logits, temperature=st.sampled_from([0.1, 0.7, 1, 1.6, 10]))
def test_a_score_does_not_depend_on_the_rows_beside_it(
    measure: str, logits: FloatArray, temperature: float
) -> None:
    probabilities = softmax(logits)
    together = score(probabilities, measure, temperature)
    alone = [score(row[None], measure, temperature)[0] for row in probabilities]
    np.testing.assert_array_equal(together, alone)


@given(logits=logits, temperature=st.floats(0.1, 10))
def test_a_temperature_divides_logits(logits: FloatArray, temperature: float) -> None:
    scaled = scale(softmax(np.clip(logits, -30, 30)), temperature)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, softmax(np.clip(logits, -30, 30) / temperature), atol=2e-5)


def test_a_temperature_of_one_changes_no_bit() -> None:
    assert scale(ROWS, 1.0) is ROWS


@pytest.mark.parametrize("name", CONFIDENCE)
def test_the_ending_of_a_name_only_tells_names_apart(name: str) -> None:
    for temperature in (1.0, 1.7):
        plain, ended = (confidence(ROWS, measure, temperature) for measure in (name, f"{name}+temperature"))
        np.testing.assert_array_equal(plain, ended)
    assert confidence(ROWS, name, 2.0)[0] < confidence(ROWS, name, 1.0)[0]


def test_a_scorer_takes_the_temperature_of_the_exit() -> None:
    scorer = Scorer("max_probability+temperature", (1.0, 2.0))
    np.testing.assert_array_equal(scorer(0, ROWS), score(ROWS, "max_probability"))
    np.testing.assert_array_equal(scorer(1, ROWS), score(ROWS, "max_probability", 2.0))


def test_saturated_rows_are_told_apart_and_spread_evenly() -> None:
    rest = np.random.default_rng(0).random((4096, 9), np.float32) * np.float32(1e-12)
    saturated = np.concatenate([np.ones((4096, 1), np.float32), rest], axis=1)
    scores = score(saturated, "max_probability")
    assert len(np.unique(scores)) == 4096
    counts, _ = np.histogram((scores - 1) / TIE, bins=8, range=(0, 1))
    assert counts.sum() == 4096
    assert np.all(np.abs(counts - 512) < 110)  # five standard deviations of a fair draw


def test_ties_never_overturn_an_order_that_float32_can_tell_near_one() -> None:
    less, more = np.nextafter(np.float32(1), np.float32(0)), np.float32(1)
    assert float(less) + TIE < float(more)


def test_the_tie_break_depends_on_which_class_holds_which_probability() -> None:
    there, elsewhere = tie_break(np.array([[0.7, 0.2, 0.1], [0.7, 0.1, 0.2]], np.float32))
    assert there != elsewhere


def test_calibration_ties_are_broken_the_same_way_every_time() -> None:
    confidence = np.ones((50, 3), np.float32)
    first, again = calibration_score(confidence), calibration_score(confidence)
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(first)) == 150
    assert first.min() >= 1
    assert first.max() < 1 + TIE
