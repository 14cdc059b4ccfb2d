"""One measurement of conflict: the Gram matrices of the shared parameters, and the cosines that follow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.analysis.cosines import Floats, mean_cosines, negative_share, summed_by


@dataclass(frozen=True)
class Conflict:
    """One measurement of the shared parameters.

    Args:
        names: of the parameters [P].
        sizes: their elements [P].
        segments: the segment of each, from 0 [P].
        used_by: bool [K, P], which exits reach them.
        grams: [samples, P, K, K].
    """

    names: Sequence[str]
    sizes: Sequence[int]
    segments: Sequence[int]
    used_by: npt.NDArray[np.bool_]
    grams: Floats

    @property
    def whole(self) -> Floats:
        """Mean cosines [K, K] over all shared parameters."""
        return mean_cosines(self.grams.sum(1))

    @property
    def per_segment(self) -> Floats:
        """Mean cosines [segments, K, K]."""
        return mean_cosines(summed_by(self.grams, self.segments))

    @property
    def per_tensor(self) -> Floats:
        """Mean cosines [P, K, K]."""
        return mean_cosines(self.grams)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as the module describes them."""
        sizes, segments = np.asarray(self.sizes), np.asarray(self.segments)
        return {
            "samples": len(self.grams),
            "whole": {
                "parameters": int(sizes.sum()),
                "cosine": plain(self.whole),
                "negative_share": plain(negative_share(self.grams.sum(1))),
            },
            "segments": [
                {
                    "segment": index + 1,
                    "parameters": int(sizes[segments == index].sum()),
                    "cosine": plain(values),
                }
                for index, values in enumerate(self.per_segment)
            ],
            "tensors": [
                {
                    "name": name,
                    "parameters": size,
                    "exits": (np.flatnonzero(used) + 1).tolist(),
                    "cosine": plain(values),
                }
                for name, size, used, values in zip(
                    self.names, self.sizes, self.used_by.T, self.per_tensor, strict=True
                )
            ],
        }


def plain(values: Floats) -> list[Any]:
    """Return nested lists, with None for NaN and floats of six digits."""
    return [plain(row) if isinstance(row, np.ndarray) else _number(row) for row in values]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)
