"""Calibration of a bundle: what the serving engine itself says of held-out images, at every exit.

The confidences are those that will really be served: same graph, same engine, same preprocessing.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.bundle import Calibration
from serving.confidence import CONFIDENCE
from serving.engine import Engine
from training.errors import DataError

Probabilities = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def engine_probabilities(engine: Engine, images: npt.NDArray[np.uint8]) -> Probabilities:
    """Run images uint8 [n, H, W, 3] through every exit; return probabilities float32 [n, K, C]."""
    exits: list[Probabilities] = []
    features: tuple[npt.NDArray[Any], ...] = (images,)
    for stage in range(engine.stages):
        probabilities, features = engine.run(stage, features)
        exits.append(probabilities)
    return np.stack(exits, axis=1)


def calibration_of(answers: Iterable[tuple[Probabilities, Labels]], seed: int = 0) -> Calibration:
    """Keep of every answer what thresholds need, and set a random half aside for certifying.

    Args:
        answers: batches of probabilities [n, K, C] and labels [n]; consumed one at a time, so that data sets
            larger than memory can be calibrated on.
        seed: decides which half is kept for certifying.

    Raises:
        DataError: fewer than two images, so that one of the halves would be empty.
    """
    labels, predictions = [], []
    confidence: dict[str, list[npt.NDArray[np.float32]]] = {measure: [] for measure in CONFIDENCE}
    for probabilities, truth in answers:
        labels.append(truth.astype(np.int64))
        predictions.append(probabilities.argmax(axis=-1).astype(np.int32))
        for measure, confidence_of in CONFIDENCE.items():
            per_exit = [confidence_of(probabilities[:, k]) for k in range(probabilities.shape[1])]
            confidence[measure].append(np.stack(per_exit, axis=1).astype(np.float32))
    images = sum(map(len, labels))
    if images < 2:
        raise DataError(
            f"calibration needs at least 2 images, one to fit on and one to certify; found {images}"
        )
    exits = predictions[0].shape[1]
    return Calibration(
        labels=np.concatenate(labels),
        prediction=np.concatenate(predictions),
        confidence={measure: np.concatenate(values) for measure, values in confidence.items()},
        temperature={measure: np.ones(exits) for measure in CONFIDENCE},
        certify=np.random.default_rng(seed).permutation(images) < images // 2,
    )
