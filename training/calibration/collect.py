"""Calibration of a bundle: what the serving engine itself says of held-out images, at every exit.

The confidences are those that will really be served: same graph, same engine, same preprocessing.
"""

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.bundle import Calibration, SegmentSpec
from serving.engine.engine import Engine
from serving.errors import EngineError
from serving.policy.confidence import CONFIDENCE, MEASURES, SCALED, Scorer, confidence
from training.calibration.temperature import ENOUGH_ROWS, fit_temperatures
from training.data.split import certifying_half
from training.errors import DataError

Probabilities = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

CHUNK = 1024
"""Images whose confidences are computed at a time."""


def engine_probabilities(engine: Engine, images: npt.NDArray[np.uint8]) -> Probabilities:
    """Run images uint8 [n, H, W, 3] through every exit; return probabilities float32 [n, K, C].

    Raises:
        EngineError: a probability is not a number.
    """
    exits: list[Probabilities] = []
    features: tuple[npt.NDArray[Any], ...] = (images,)
    for stage in range(engine.stages):
        probabilities, features = engine.run(stage, features)
        if not np.isfinite(probabilities).all():
            raise EngineError(f"exit {stage + 1} puts out probabilities that are not numbers")
        exits.append(probabilities)
    return np.stack(exits, axis=1)


@dataclass(frozen=True, eq=False)
class Answers:
    """Every exit's answers to N labelled images.

    Args:
        probabilities: float32 [N, K, C]; backed by a file, since they may be more than fits into memory.
        labels: int64 [N].
        certify: bool [N], a random half that is kept for certifying.
    """

    probabilities: Probabilities
    labels: Labels
    certify: npt.NDArray[np.bool_]

    @property
    def accuracy(self) -> npt.NDArray[np.float64]:
        """The share of right answers per exit, [K], over all images: to be reported, never to choose by."""
        return self._accuracy(np.arange(len(self.labels)))

    @property
    def fit_accuracy(self) -> npt.NDArray[np.float64]:
        """The share of right answers per exit, [K], over the images that choices may be made on."""
        return self._accuracy(np.flatnonzero(~self.certify))

    def _accuracy(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        right = np.zeros(self.probabilities.shape[1])
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            right += (self.probabilities[chunk].argmax(axis=-1) == self.labels[chunk, None]).sum(axis=0)
        return right / len(rows)

    def to_fit_on(self, most: int) -> tuple[Probabilities, Labels]:
        """Return the images that may be fitted on, `most` of them at most, in random order."""
        rows = np.random.default_rng(0).permutation(np.flatnonzero(~self.certify))[:most]
        return self.probabilities[rows], self.labels[rows]


def collect(answers: Iterable[tuple[Probabilities, Labels]], seed: int = 0) -> Answers:
    """Gather answers, and set a random half aside for certifying.

    Args:
        answers: batches of probabilities [n, K, C] and labels [n]; consumed one at a time.
        seed: decides which half is kept for certifying.

    Raises:
        DataError: fewer than two images, so that one of the halves would be empty.
    """
    labels: list[Labels] = []
    shape: tuple[int, ...] = ()
    with tempfile.TemporaryFile() as file:
        for probabilities, truth in answers:
            file.write(np.ascontiguousarray(probabilities, np.float32).tobytes())
            labels.append(truth.astype(np.int64))
            shape = probabilities.shape[1:]
        images = sum(map(len, labels))
        if images < 2:
            raise DataError(
                f"calibration needs at least 2 images, one to fit on and one to certify; found {images}"
            )
        file.flush()
        # The mapping outlives the file's name, which is gone already, and goes with the array.
        gathered = np.memmap(file, np.float32, "r", shape=(images, *shape))
    return Answers(gathered, np.concatenate(labels), certifying_half(images, seed))


def calibration_of(answers: Answers) -> Calibration:
    """Keep of answers what thresholds need: confidences by every measure, plain and at fitted temperatures.

    Temperatures are fitted on the images that may be fitted on.
    """
    images, exits, _ = answers.probabilities.shape
    temperatures = fit_temperatures(*answers.to_fit_on(ENOUGH_ROWS))
    scorers = scorers_of(temperatures)
    prediction = np.empty((images, exits), np.int32)
    confidences = {measure: np.empty((images, exits), np.float32) for measure in scorers}
    for start in range(0, images, CHUNK):
        chunk = slice(start, start + CHUNK)
        prediction[chunk] = answers.probabilities[chunk].argmax(axis=-1)
        for measure, scorer in scorers.items():
            for exit_index, temperature in enumerate(scorer.temperature):
                probabilities = np.ascontiguousarray(answers.probabilities[chunk, exit_index])
                confidences[measure][chunk, exit_index] = confidence(probabilities, measure, temperature)
    return Calibration(
        labels=answers.labels,
        prediction=prediction,
        confidence=confidences,
        temperature={measure: np.array(scorer.temperature) for measure, scorer in scorers.items()},
        certify=answers.certify,
    )


def scorers_of(temperatures: npt.NDArray[np.float64]) -> dict[str, Scorer]:
    """Return the scorer of every measure, given one temperature per exit for those that are scaled."""
    fitted, none = tuple(temperatures.tolist()), (1.0,) * len(temperatures)
    return {name: Scorer(name, fitted if name.endswith(SCALED) else none) for name in MEASURES}


def unknown_calibration(exits: int) -> Calibration:
    """Return the least that a bundle can be read with, until its own is known: one image, never used."""
    return Calibration(
        labels=np.zeros(1, np.int64),
        prediction=np.zeros((1, exits), np.int32),
        confidence={measure: np.ones((1, exits), np.float32) for measure in CONFIDENCE},
        temperature={measure: np.ones(exits) for measure in CONFIDENCE},
        certify=np.zeros(1, np.bool_),
    )


def rated(segments: Sequence[SegmentSpec], accuracy: Sequence[float]) -> tuple[SegmentSpec, ...]:
    """Return segments with the accuracy of their exits on validation images, K of each."""
    return tuple(
        spec.model_copy(update={"validation_accuracy": share})
        for spec, share in zip(segments, accuracy, strict=True)
    )
