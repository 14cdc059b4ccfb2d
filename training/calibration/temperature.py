"""One temperature per exit, so that its probabilities mean what they say.

Guo et al., *On Calibration of Modern Neural Networks* (ICML 2017), section 4.2: logits are divided by the
number that makes the true classes likeliest. Deviation: logits are taken back from the probabilities, up to
the constant that softmax cancels, since those are what the serving engine puts out.
"""

import numpy as np
import numpy.typing as npt

COOLEST, HOTTEST = 0.1, 10.0
"""Bounds of a temperature: an exit that is never wrong would ask for zero."""

ENOUGH_ROWS = 10_000
"""One number is fitted well long before; more rows would only take longer."""

_BISECTIONS = 30
_SMALLEST = np.float32(1e-37)  # a probability that underflowed to 0 is taken for this


def fit_temperature(probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    """Return the temperature of one exit that gives the labels the highest likelihood.

    The negative log-likelihood is convex in 1 / T, so its slope has one sign change, found by bisection.

    Args:
        probabilities: [N > 0, C]; the first `ENOUGH_ROWS` are used, so they have to be in random order.
        labels: [N].
    """
    probabilities, labels = probabilities[:ENOUGH_ROWS], labels[:ENOUGH_ROWS]
    logits = np.log(np.maximum(probabilities, _SMALLEST))
    logits -= logits.max(axis=1, keepdims=True)
    of_truth = float(logits[np.arange(len(labels)), labels].mean(dtype=np.float64))
    low, high = 1 / HOTTEST, 1 / COOLEST
    for _ in range(_BISECTIONS):
        inverse = float(np.sqrt(low * high))
        powers = np.exp(logits * np.float32(inverse))
        expected = (powers * logits).sum(axis=1) / powers.sum(axis=1)
        # The slope is what the model expects of its logits less what the true classes got.
        if float(expected.mean(dtype=np.float64)) < of_truth:
            low = inverse
        else:
            high = inverse
    return float(1 / np.sqrt(low * high))


def fit_temperatures(
    probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return one temperature for each exit of probabilities [N, K, C], float64 [K]."""
    return np.array([fit_temperature(probabilities[:, k], labels) for k in range(probabilities.shape[1])])
