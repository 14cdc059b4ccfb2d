"""The policies a server can follow: each makes the path of thresholds along which budgets are met."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.calibration import Calibration
from serving.confidence import ScoreArray
from serving.errors import BundleError
from serving.geometric import geometric_table
from serving.manifest import Manifest, Named
from serving.searched import DEFAULT_STIFFNESS, searched_table
from serving.thresholds import PathPolicy

BoolArray = npt.NDArray[np.bool_]


class Policy(Protocol):
    """How calibration rows become a path of thresholds."""

    def table(self, score: ScoreArray, correct: BoolArray, exit_flops: Sequence[int]) -> ScoreArray:
        """Make the path: from scores [N, K], correctness [N, K] and costs [K] to thresholds [R, K].

        They never fall from row to row, and end as `serving.paths.rising` ends them.
        """


class Geometric(BaseModel):
    """MSDNet's heuristic, which never looks at the answers (`serving.geometric`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def table(self, score: ScoreArray, correct: BoolArray, exit_flops: Sequence[int]) -> ScoreArray:
        """Make the path from the scores alone."""
        return geometric_table(score)


class Searched(BaseModel):
    """The heuristic's thresholds, improved by what the rows got right (`serving.searched`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stiffness: float = Field(DEFAULT_STIFFNESS, gt=0, allow_inf_nan=False)
    """How hard the search is held near the heuristic."""

    def table(self, score: ScoreArray, correct: BoolArray, exit_flops: Sequence[int]) -> ScoreArray:
        """Make the path, in a second or so."""
        return searched_table(score, correct, exit_flops, self.stiffness)


POLICIES: dict[str, type[Geometric] | type[Searched]] = {"geometric": Geometric, "searched": Searched}
"""The policies by name; the fields of each are its options."""

DEFAULT_POLICY = Named(name="geometric")


def read_policy(named: Named) -> Policy:
    """Build a policy from its name and its options.

    Raises:
        BundleError: no such policy, or options that it does not have.
    """
    if named.name not in POLICIES:
        raise BundleError(f"expected a policy out of {sorted(POLICIES)}; found {named.name!r}")
    try:
        return POLICIES[named.name].model_validate(named.options)
    except ValidationError as error:
        problems = "; ".join(f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors())
        raise BundleError(f"the options of the policy {named.name!r} cannot be used: {problems}") from error


def fit_policy(
    policy: Policy | str, score: ScoreArray, correct: BoolArray, exit_flops: Sequence[int]
) -> PathPolicy:
    """Fit a policy on calibration rows.

    Args:
        policy: the policy, or the name of one with its own defaults.
        score: float64 [N, K], see `serving.confidence.calibration_score`.
        correct: bool [N, K], whether the exit's answer is right.
        exit_flops: K costs of leaving at an exit, in FLOPs per image, rising.

    Raises:
        BundleError: no policy of this name.
        ValueError: as `PathPolicy` does.
    """
    chosen = read_policy(Named(name=policy)) if isinstance(policy, str) else policy
    return PathPolicy(score, correct, exit_flops, chosen.table(score, correct, exit_flops))


def served_policy(manifest: Manifest, calibration: Calibration, name: str | None = None) -> PathPolicy:
    """The policy that a bundle is served with, on the half of its calibration that is there for fitting.

    Args:
        manifest: of the bundle.
        calibration: of the bundle.
        name: a key of `POLICIES`; the manifest's choice where None. Its options count where the names agree.

    Raises:
        BundleError: no such policy.
    """
    named = manifest.calibration.policy
    if name is not None and name != named.name:
        named = Named(name=name)
    score, fit = calibration.score(manifest.calibration.confidence), calibration.fit
    return fit_policy(read_policy(named), score[fit], calibration.correct[fit], manifest.exit_flops)
