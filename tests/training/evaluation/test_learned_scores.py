"""Learned scores: they find what no measure shows, and learn from what they are given alone."""

import numpy as np
import pytest

from training.evaluation.evaluation import Scored
from training.evaluation.failure import auroc
from training.evaluation.learned_scores import GATE, LEARNED, LEAST_IMAGES, RIGHT, learned
from training.evaluation.policy_comparison import compare

Images = tuple[dict[str, Scored], np.ndarray]


def images(count: int, seed: int) -> Images:
    """Three exits; at the second, whether the first agrees tells right from wrong.."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, count)
    prediction = np.stack([labels] * 3, axis=1)
    wrong = random.random((count, 3)) < [0.5, 0.4, 0.1]
    prediction[wrong] = (prediction[wrong] + random.integers(1, 10, int(wrong.sum()))) % 10
    score = random.random((count, 3))
    correct = prediction == labels[:, None]
    return {name: Scored(score, correct) for name in ("max_probability", "margin")}, prediction


def test_agreement_is_learned() -> None:
    fitted, measured = images(2_000, 0), images(2_000, 1)

    own, other = learned(*fitted, *measured)

    assert own.keys() == other.keys() == set(LEARNED)
    for found in (own[RIGHT], other[RIGHT]):
        second = auroc(found.score[:, 1], found.correct[:, 1])
        assert second is not None
        assert second > 0.65
    plain = auroc(measured[0]["margin"].score[:, 1], measured[0]["margin"].correct[:, 1])
    assert plain == pytest.approx(0.5, abs=0.05)


def test_a_gate_asks_what_leaving_loses() -> None:
    fitted, measured = images(2_000, 0), images(2_000, 1)
    own, other = learned(*fitted, *measured)
    loses_nothing = other[GATE].correct | ~other[GATE].correct[:, -1:]
    found = auroc(other[GATE].score[:, 1], loses_nothing[:, 1])
    assert found is not None
    assert found > 0.6
    assert own[GATE].score.shape == (2_000, 3)


def test_they_compete_with_the_measures() -> None:
    fitted, measured = images(600, 0), images(600, 1)
    own, other = learned(*fitted, *measured)
    comparison = compare({**fitted[0], **own}, {**measured[0], **other}, (10, 20, 40))
    gains = {str(standing.candidate): standing.gain for standing in comparison.standings}
    assert gains["learned right, geometric"] > 0


def test_of_few_images_nothing_is_learned() -> None:
    few = images(LEAST_IMAGES - 1, 0)
    assert learned(*few, *few) == ({}, {})


def test_where_an_exit_is_always_right_there_is_nothing_to_tell() -> None:
    measures, prediction = images(200, 0)
    right = {name: Scored(one.score, np.ones_like(one.correct)) for name, one in measures.items()}
    own, _ = learned(right, prediction, right, prediction)
    assert own[RIGHT].score.min() >= 1
