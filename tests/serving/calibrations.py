"""Synthetic calibration tables: a latent difficulty per image, exits that get better, honest confidences."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.interfaces import ScoreArray
from serving.policy.confidence import calibration_score

FLOPS = (10, 20, 35, 60)


@dataclass(frozen=True)
class Table:
    """Scores [N, K] and correctness [N, K]."""

    score: ScoreArray
    correct: npt.NDArray[np.bool_]

    def rows(self, which: slice) -> "Table":
        """Return some of the rows."""
        return Table(self.score[which], self.correct[which])


def table(rows: int, seed: int, exits: int = len(FLOPS)) -> Table:
    """Draw rows: the chance of being right grows with depth, and the confidence is that chance."""
    random = np.random.default_rng(seed)
    ease = random.normal(size=(rows, 1)) + 0.4 * random.normal(size=(rows, exits))
    chance = 1 / (1 + np.exp(-(2 * ease + np.linspace(0, 1.5, exits))))
    return Table(calibration_score(chance.astype(np.float32)), random.random((rows, exits)) < chance)
