"""Temperatures: known ones are found again, and extremes stay within bounds."""

import numpy as np
import pytest

from training.calibration.temperature import COOLEST, HOTTEST, fit_temperature, fit_temperatures


def sample(temperature: float, images: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from softmax(logits), and the probabilities of softmax(logits * temperature)."""
    random = np.random.default_rng(0)
    logits = 2 * random.standard_normal((images, 6))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (chances.cumsum(axis=1) > random.random((images, 1))).argmax(axis=1)
    powers = np.exp(temperature * logits)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32), labels


@pytest.mark.parametrize("temperature", [0.5, 1, 1.7, 3])
def test_a_known_temperature_is_found_again(temperature: float) -> None:
    assert fit_temperature(*sample(temperature)) == pytest.approx(temperature, rel=0.05)


def test_it_is_the_likeliest_one() -> None:
    probabilities, labels = sample(1.4, images=500)
    found = fit_temperature(probabilities, labels)

    def loss(temperature: float) -> float:
        powers = probabilities.astype(np.float64) ** (1 / temperature)
        chances = powers / powers.sum(axis=1, keepdims=True)
        return float(-np.log(chances[np.arange(500), labels]).mean())

    assert loss(found) <= min(loss(found * 1.02), loss(found / 1.02))


def test_extremes_stay_within_bounds() -> None:
    sure = np.full((10, 3), 1e-3, np.float32) + np.eye(3, dtype=np.float32)[np.arange(10) % 3]
    always_right, always_wrong = np.arange(10) % 3, (np.arange(10) + 1) % 3
    assert fit_temperature(sure, always_right) == pytest.approx(COOLEST)
    assert fit_temperature(sure, always_wrong) == pytest.approx(HOTTEST)


def test_probabilities_of_zero_are_no_trouble() -> None:
    zeros = np.array([[1, 0], [1, 0], [0, 1], [1, 0]], np.float32)
    assert COOLEST <= fit_temperature(zeros, np.array([0, 1, 1, 0])) <= HOTTEST * (1 + 1e-6)


def test_every_exit_has_its_own() -> None:
    (cool, labels), (hot, _) = sample(0.7), sample(2.0)
    np.testing.assert_allclose(fit_temperatures(np.stack([cool, hot], axis=1), labels), [0.7, 2.0], rtol=0.05)
