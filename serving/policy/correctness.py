"""Probabilities of each exit to be right about calibration rows: the luck of single answers averaged away.

Pure numpy. Legend of shapes: N calibration rows, K exits, F features.
"""

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float64

RIDGE = 30.0
"""Weight of the penalty on the (standardised) coefficients, in rows."""

_NEWTON_STEPS = 10
_SURE = 1e-4  # scores are kept this far from 0 and 1, where their logits would run away

BoolArray = npt.NDArray[np.bool_]


def correctness_probability(
    score: Float64[np.ndarray, "n k"], correct: Bool[np.ndarray, "n k"]
) -> Float64[np.ndarray, "n k"]:
    """The probability of each exit to be right about each row, given all exits' scores.

    Logistic regression with a ridge penalty, by Newton's method; the features are the logits of all K scores
    and their squares.

    Args:
        score: float64 [N, K].
        correct: bool [N, K].

    Returns:
        float64 [N, K] in (0, 1).
    """
    sure = np.clip(score, _SURE, 1 - _SURE)
    logits = np.log(sure) - np.log1p(-sure)
    features = np.concatenate([logits, logits**2], axis=1)
    features = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), _SURE)
    features = np.concatenate([np.ones((len(score), 1)), features], axis=1)
    penalty = np.full(features.shape[1], RIDGE)
    penalty[0] = 1  # the constant is free but for a row's worth, so that it stays finite
    return np.stack([_logistic(features, right, penalty) for right in correct.T], axis=1)


def _logistic(
    features: Float64[np.ndarray, "n f"], right: Bool[np.ndarray, " n"], penalty: Float64[np.ndarray, " f"]
) -> Float64[np.ndarray, " n"]:
    """The fitted chances [N] of one exit, from features [N, F], with a ridge penalty [F]."""
    weights = np.zeros(features.shape[1])
    for _ in range(_NEWTON_STEPS):
        chance = _sigmoid(features @ weights)
        slope = features.T @ (right - chance) - penalty * weights
        bend = (features * (chance * (1 - chance))[:, None]).T @ features + np.diag(penalty)
        weights += np.linalg.solve(bend, slope)
    return _sigmoid(features @ weights)


def _sigmoid(logits: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    chance: Float64[np.ndarray, " n"] = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
    return chance
