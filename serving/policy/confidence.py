"""Confidence measures of an exit's answer, from its probabilities; higher always means surer.

Legend of shapes: N rows, C classes, K exits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Float64, UInt64

from serving.interfaces import FloatArray

TIE = 2.0**-26
"""Weight of the tie break: a quarter of the gap between the two largest float32 confidences."""

HIGHEST_SCORE = 1 + TIE
"""No score is above it, whatever the measure: confidences end at 1, and a tie break stays under `TIE`."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def max_probability(probabilities: Float32[np.ndarray, "n c"]) -> Float32[np.ndarray, " n"]:
    """The probability of the likeliest class, [N, C] -> [N]; MSDNet's measure.

    >>> max_probability(np.array([[0.25, 0.75]], np.float32)).tolist()
    [0.75]
    """
    highest: FloatArray = probabilities.max(axis=1)
    return np.minimum(highest, np.float32(1))  # a softmax may round to just above 1


def margin(probabilities: Float32[np.ndarray, "n c"]) -> Float32[np.ndarray, " n"]:
    """The lead of the likeliest class over the next one, [N, C] -> [N]; a single class leads over nothing.

    >>> margin(np.array([[0.25, 0.75]], np.float32)).tolist()
    [0.5]
    """
    if probabilities.shape[1] < 2:
        return max_probability(probabilities)
    top_two: FloatArray = np.partition(probabilities, -2, axis=1)[:, -2:]
    lead: FloatArray = top_two[:, 1] - top_two[:, 0]
    return np.minimum(lead, np.float32(1))


def entropy(probabilities: Float32[np.ndarray, "n c"]) -> Float32[np.ndarray, " n"]:
    """One minus the entropy as a share of its maximum, log C: [N, C] -> [N] within [0, 1].

    >>> entropy(np.array([[0.5, 0.5], [0, 1]], np.float32)).tolist()
    [0.0, 1.0]
    """
    classes = probabilities.shape[1]
    if classes < 2:
        return max_probability(probabilities)
    logarithm = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    nats: FloatArray = -(probabilities * logarithm).sum(axis=1)
    confidence: FloatArray = np.clip(1 - nats / np.float32(np.log(classes)), 0, 1).astype(np.float32)
    return confidence


CONFIDENCE: dict[str, Callable[[FloatArray], FloatArray]] = {
    "max_probability": max_probability,
    "margin": margin,
    "entropy": entropy,
}
"""The measures, by name."""

SCALED = "+temperature"
"""Ends the name of a measure that is taken of probabilities after temperature scaling."""

MEASURES = tuple(name + ending for name in CONFIDENCE for ending in ("", SCALED))
"""Every name that a bundle may give to a measure."""


def scale(probabilities: Float32[np.ndarray, "n c"], temperature: float) -> Float32[np.ndarray, "n c"]:
    """Probabilities as softmax would give them of logits divided by a temperature: p^(1/T), normalised again.

    Guo et al., *On Calibration of Modern Neural Networks* (ICML 2017), section 4.2, but from probabilities,
    since logits do not leave a segment: the constant that softmax loses cancels out. A probability that came
    out as 0 stays 0.

    Args:
        probabilities: float32 [N, C].
        temperature: over 1 makes them less sure, under 1 surer; 1 returns them as they are.

    Returns:
        float32 [N, C].

    >>> scale(np.array([[0.2, 0.8]], np.float32), temperature=0.5).round(3).tolist()
    [[0.05900000035762787, 0.9409999847412109]]
    """
    if temperature == 1:
        return probabilities
    # Relative to the largest one, which becomes exactly 1: no power can vanish in all classes at once.
    powers = (probabilities / probabilities.max(axis=1, keepdims=True)) ** np.float32(1 / temperature)
    scaled: FloatArray = powers / powers.sum(axis=1, keepdims=True)
    return scaled


def confidence(
    probabilities: Float32[np.ndarray, "n c"], measure: str, temperature: float = 1.0
) -> Float32[np.ndarray, " n"]:
    """The confidence of rows by a measure, [N, C] -> [N] in [0, 1].

    Args:
        probabilities: float32 [N, C].
        measure: one of `MEASURES`; the ending only makes names differ, the temperature decides.
        temperature: see `scale`.
    """
    return CONFIDENCE[measure.removesuffix(SCALED)](scale(probabilities, temperature))


def tie_break(probabilities: Float32[np.ndarray, "n c"]) -> Float64[np.ndarray, " n"]:
    """A number in [0, 1) for each row, a hash of the bits of its probabilities.

    It is the same wherever and beside whomever the row is computed, so ties between confidences are cut
    independent of a row's neighbours. Only rows that agree in every bit share it.

    Args:
        probabilities: float32 [N, C].

    Returns:
        float64 [N].
    """
    bits = np.ascontiguousarray(probabilities, np.float32).view(np.uint32)
    mixed = _mix((bits.astype(np.uint64) * _multipliers(bits.shape[1])).sum(axis=1, dtype=np.uint64))
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def score(
    probabilities: Float32[np.ndarray, "n c"], measure: str, temperature: float = 1.0
) -> Float64[np.ndarray, " n"]:
    """The score that is compared with a row's thresholds: its confidence, and its tie break under it.

    A quarter or more of the confidences of a trained net can be exactly 1 in float32; no threshold on the
    bare confidence could cut between them.

    Args:
        probabilities: float32 [N, C].
        measure: one of `MEASURES`.
        temperature: of the exit; see `scale`.

    Returns:
        float64 [N] within [0, 1 + `TIE`).
    """
    certain = confidence(probabilities, measure, temperature).astype(np.float64)
    return certain + TIE * tie_break(probabilities)


@dataclass(frozen=True)
class Scorer:
    """Scores the answers of any exit as the thresholds expect them.

    Args:
        measure: one of `MEASURES`.
        temperature: one per exit; 1 leaves its probabilities as they are.
    """

    measure: str
    temperature: tuple[float, ...]

    def __call__(
        self, exit_index: int, probabilities: Float32[np.ndarray, "n c"]
    ) -> Float64[np.ndarray, " n"]:
        """Score the probabilities [N, C] of one exit: float64 [N], see `score`."""
        return score(probabilities, self.measure, self.temperature[exit_index])


def calibration_score(confidence: Float32[np.ndarray, "n *k"], seed: int = 0) -> Float64[np.ndarray, "n *k"]:
    """The scores of calibration rows, of which only the confidences are kept: a seeded draw breaks the ties.

    Served rows break theirs by a hash; both are uniform, so a threshold cuts the same share of either.

    Args:
        confidence: float32 [N] or [N, K].
        seed: of the draw; each element's is fixed by its index.

    Returns:
        float64, shaped like `confidence`, within [0, 1 + `TIE`).
    """
    uniform = np.random.default_rng(seed).random(confidence.shape)
    return np.clip(confidence.astype(np.float64), 0, 1) + TIE * uniform


@lru_cache(maxsize=16)
def _multipliers(classes: int) -> UInt64[np.ndarray, " {classes}"]:
    """One odd 64-bit factor per class, so that the hash depends on which class holds which probability."""
    return _mix(np.arange(1, classes + 1, dtype=np.uint64) * _GOLDEN) | np.uint64(1)


def _mix(values: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """Spread every input bit over all output bits (the finaliser of SplitMix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: UInt64[np.ndarray, " n"] = values ^ (values >> np.uint64(31))
    return mixed
