"""Confidence as a sign of each exit's failures, and the exits' differences from the last.

Legend of shapes: N images, K exits, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.evaluation.curves import Bools, Floats

BINS = 15
QUALITY_HEADS = ("exit", "AUROC %", "AURC %", "ECE %", "agreement %", "overthinking %")


@dataclass(frozen=True)
class ExitQuality:
    """One exit's confidence as a predictor of failure, and its answers beside the last exit's.

    Args:
        auroc: how often a right answer is surer than a wrong one; None where all are right, or all wrong.
        aurc: the mean error of the surest share of the images, over all shares.
        ece: the expected calibration error of its largest probability.
        agreement: share of the images that the last exit gives the same class.
        overthinking: share of the images that this exit has right and the last exit wrong.
    """

    auroc: float | None
    aurc: float
    ece: float
    agreement: float
    overthinking: float


def exit_quality(
    probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], score: Floats
) -> tuple[ExitQuality, ...]:
    """Measure every exit.

    Args:
        probabilities: [N, K, C].
        labels: [N].
        score: [N, K], what is held against thresholds; higher is surer.
    """
    prediction = probabilities.argmax(-1)
    correct = prediction == labels[:, None]
    return tuple(
        ExitQuality(
            auroc(score[:, k], correct[:, k]),
            aurc(score[:, k], correct[:, k]),
            expected_calibration_error(probabilities[:, k].max(-1).astype(np.float64), correct[:, k]),
            float((prediction[:, k] == prediction[:, -1]).mean()),
            float((correct[:, k] & ~correct[:, -1]).mean()),
        )
        for k in range(probabilities.shape[1])
    )


def overthinking(correct: Bools) -> float:
    """Return the share of images that some exit has right and the last one wrong.

    Source: Kaya, Hong, Dumitras, "Shallow-Deep Networks: Understanding and Mitigating Network Overthinking",
    ICML 2019, its destructive effect.

    Args:
        correct: bool [N, K].
    """
    return float((correct.any(1) & ~correct[:, -1]).mean())


def auroc(score: Floats, correct: Bools) -> float | None:
    """Return the area under the ROC curve of a score that separates right answers from wrong ones.

    Source: Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples",
    ICLR 2017. Equal scores count half.

    >>> auroc(np.array([0.9, 0.8, 0.2]), np.array([True, False, False]))
    1.0
    """
    right = int(correct.sum())
    wrong = len(correct) - right
    if not right or not wrong:
        return None
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = np.cumsum(counts) - (counts - 1) / 2  # the mean rank, from 1, of equal scores
    return float((rank[place][correct].sum() - right * (right + 1) / 2) / (right * wrong))


def aurc(score: Floats, correct: Bools) -> float:
    """Return the area under the risk-coverage curve: the mean over n of the error of the n surest images.

    Source: Geifman, Uziel, El-Yaniv, "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers",
    ICLR 2019. Images of equal scores come in any order; the mean over the orders is taken.

    >>> round(aurc(np.array([0.9, 0.8]), np.array([True, False])), 12)
    0.25
    """
    order = np.argsort(-score, kind="stable")
    wrong = (~correct[order]).astype(np.float64)
    _, group, counts = np.unique(-score[order], return_inverse=True, return_counts=True)
    wrong = (np.bincount(group, wrong) / counts)[group]
    return float((np.cumsum(wrong) / np.arange(1, len(wrong) + 1)).mean())


def expected_calibration_error(confidence: Floats, correct: Bools, bins: int = BINS) -> float:
    """Return Σ |accuracy − mean confidence| over bins of equal width, weighted by their share of the images.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, with its 15 bins.

    Args:
        confidence: [N] in 0..1, the largest probability.
        correct: bool [N].
        bins: how many.

    >>> expected_calibration_error(np.array([0.75, 0.75]), np.array([True, False]))
    0.25
    """
    of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    apart = np.bincount(of, correct - confidence, bins)
    return float(np.abs(apart).sum() / len(confidence))


def quality_rows(qualities: Sequence[ExitQuality]) -> list[list[str]]:
    """Return a table's rows, one per exit: AUROC, AURC, ECE, agreement and overthinking, in percent."""
    return [
        [
            str(number),
            "–" if one.auroc is None else f"{100 * one.auroc:.2f}",
            *(f"{100 * value:.2f}" for value in (one.aurc, one.ece, one.agreement, one.overthinking)),
        ]
        for number, one in enumerate(qualities, start=1)
    ]
