"""`calibration.npz`: what every exit said about held-out images, which is what thresholds are fitted on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.bundle.npz import expect, from_npz, to_npz
from serving.errors import BundleError
from serving.interfaces import ScoreArray
from serving.policy.confidence import Scorer, calibration_score

MAX_BYTES = 512 * 2**20
"""More unpacked bytes than any real calibration has (a million images at seven exits are 110 MB)."""

_RANGE_SLACK = 1e-3
_FIXED = {"labels": np.int64, "prediction": np.int32, "certify": np.bool_}
_CONFIDENCE, _TEMPERATURE = "confidence.", "temperature."


@dataclass(frozen=True)
class Calibration:
    """Answers of all K exits on N images, none of them trained on.

    Args:
        labels: int64 [N], the true class of each image.
        prediction: int32 [N, K], the class each exit answers.
        confidence: per measure, float32 [N, K] in [0, 1], higher is surer.
        temperature: per measure, float64 [K], the fitted temperatures; 1.0 is none.
        certify: bool [N]; True is the half kept for certifying, which no threshold may be fitted on.
    """

    labels: npt.NDArray[np.int64]
    prediction: npt.NDArray[np.int32]
    confidence: Mapping[str, npt.NDArray[np.float32]]
    temperature: Mapping[str, npt.NDArray[np.float64]]
    certify: npt.NDArray[np.bool_]

    @property
    def fit(self) -> npt.NDArray[np.bool_]:
        """Return the mask, bool [N], of the images that thresholds are fitted on."""
        return ~self.certify

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Return, bool [N, K], whether each exit is right about each image."""
        return np.asarray(self.prediction == self.labels[:, None])

    def score(self, measure: str) -> ScoreArray:
        """Return what thresholds on a measure are held against, float64 [N, K], for every image."""
        return calibration_score(self.confidence[measure])

    def scorer(self, measure: str) -> Scorer:
        """Return how served rows are scored, so that thresholds fitted on `score` fit them."""
        return Scorer(measure, tuple(self.temperature[measure].tolist()))

    @property
    def accuracy(self) -> tuple[float, ...]:
        """Return the accuracy of each exit over all N images, in [0, 1]."""
        return tuple(float(share) for share in self.correct.mean(axis=0))

    def validate(self, classes: int, exits: int, measure: str) -> None:
        """Check every array against the number of classes and of exits, and that `measure` is there.

        Raises:
            BundleError: an array has the wrong type, shape or range; the text does not name the bundle.
        """
        images = self.labels.shape[0] if self.labels.ndim == 1 else -1
        shapes = {"labels": (images,), "prediction": (images, exits), "certify": (images,)}
        arrays: dict[str, npt.NDArray[Any]] = {
            "labels": self.labels,
            "prediction": self.prediction,
            "certify": self.certify,
        }
        for name, shape in shapes.items():
            expect(name, arrays[name], _FIXED[name], shape)
        if measure not in self.confidence:
            raise BundleError(
                f"the manifest names the confidence {measure!r}, which is not among {sorted(self.confidence)}"
            )
        if self.confidence.keys() != self.temperature.keys():
            raise BundleError(
                f"expected one temperature array per confidence; found confidences {sorted(self.confidence)} "
                f"and temperatures {sorted(self.temperature)}"
            )
        for name, values in self.confidence.items():
            expect(_CONFIDENCE + name, values, np.float32, (images, exits))
            expect(_TEMPERATURE + name, self.temperature[name], np.float64, (exits,))
            if not np.all((values >= -_RANGE_SLACK) & (values <= 1 + _RANGE_SLACK)):
                raise BundleError(f"{_CONFIDENCE}{name} must lie in [0, 1]; it holds other values or NaN")
            if not np.all(np.isfinite(self.temperature[name]) & (self.temperature[name] > 0)):
                raise BundleError(f"{_TEMPERATURE}{name} must be finite and positive")
        if not self.fit.any():
            raise BundleError("every image is kept for certifying: none is left to fit thresholds on")
        for name in ("labels", "prediction"):
            if arrays[name].min() < 0 or arrays[name].max() >= classes:
                raise BundleError(f"{name} must lie in 0..{classes - 1} for the manifest's {classes} classes")

    def to_bytes(self) -> bytes:
        """Return the arrays as an npz file."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "labels": self.labels,
            "prediction": self.prediction,
            "certify": self.certify,
        }
        arrays |= {_CONFIDENCE + name: values for name, values in sorted(self.confidence.items())}
        arrays |= {_TEMPERATURE + name: values for name, values in sorted(self.temperature.items())}
        return to_npz(arrays)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Calibration":
        """Read an npz file without ever unpickling, and without unpacking more than MAX_BYTES.

        Raises:
            BundleError: not an npz file, too large, damaged, or arrays missing or unknown.
        """
        arrays = from_npz(data, MAX_BYTES)
        if missing := _FIXED.keys() - arrays.keys():
            raise BundleError(f"the arrays {sorted(missing)} are missing; found {sorted(arrays)}")
        named: dict[str, dict[str, npt.NDArray[Any]]] = {_CONFIDENCE: {}, _TEMPERATURE: {}}
        for key in sorted(arrays.keys() - _FIXED.keys()):
            prefix = key[: key.find(".") + 1]
            if prefix not in named:
                raise BundleError(
                    f"expected the arrays {sorted(_FIXED)}, confidence.* and temperature.*; found {key!r} too"
                )
            named[prefix][key.removeprefix(prefix)] = arrays[key]
        return cls(
            arrays["labels"], arrays["prediction"], named[_CONFIDENCE], named[_TEMPERATURE], arrays["certify"]
        )
