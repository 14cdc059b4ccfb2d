"""The policies a server can follow: each makes the path of thresholds along which budgets are met."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from serving.calibration import Calibration
from serving.confidence import ScoreArray
from serving.geometric import geometric_table
from serving.manifest import Manifest
from serving.thresholds import PathPolicy

BoolArray = npt.NDArray[np.bool_]
MakeTable = Callable[[ScoreArray, BoolArray, Sequence[int]], ScoreArray]

DEFAULT_POLICY = "geometric"

POLICIES: dict[str, MakeTable] = {
    "geometric": lambda score, correct, exit_flops: geometric_table(score),
}
"""From scores [N, K], correctness [N, K] and costs [K] to threshold vectors [R, K] that never fall."""


def fit_policy(name: str, score: ScoreArray, correct: BoolArray, exit_flops: Sequence[int]) -> PathPolicy:
    """Fit a policy on calibration rows.

    Args:
        name: a key of `POLICIES`.
        score: float64 [N, K], see `serving.confidence.calibration_score`.
        correct: bool [N, K], whether the exit's answer is right.
        exit_flops: K costs of leaving at an exit, in FLOPs per image, rising.

    Raises:
        ValueError: as `PathPolicy` does.
    """
    return PathPolicy(score, correct, exit_flops, POLICIES[name](score, correct, exit_flops))


def served_policy(manifest: Manifest, calibration: Calibration, name: str | None = None) -> PathPolicy:
    """The policy that a bundle is served with, on the half of its calibration that is there for fitting.

    Args:
        manifest: of the bundle.
        calibration: of the bundle.
        name: a key of `POLICIES`; the one that the manifest names where None.
    """
    score, fit = calibration.score(manifest.calibration.confidence), calibration.fit
    name = name or manifest.calibration.policy.name
    return fit_policy(name, score[fit], calibration.correct[fit], manifest.exit_flops)
