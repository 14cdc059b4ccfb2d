"""The policies a server can follow: each makes the path of thresholds along which budgets are met."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float64
from pydantic import BaseModel, ConfigDict, Field

from serving.errors import BundleError
from serving.policy.geometric import geometric_table
from serving.policy.plan import PathPolicy
from serving.policy.searched import DEFAULT_STIFFNESS, searched_table


class Policy(Protocol):
    """A way to turn calibration rows into a path of thresholds."""

    def table(
        self, score: Float64[np.ndarray, "n k"], correct: Bool[np.ndarray, "n k"], exit_flops: Sequence[int]
    ) -> Float64[np.ndarray, "r k"]:
        """Make the path: from scores [N, K], correctness [N, K] and costs [K] to thresholds [R, K].

        They never fall from row to row, and end as `serving.policy.threshold_path.monotone_path` ends them.
        """


class Geometric(BaseModel):
    """MSDNet's heuristic, which never looks at the answers (`serving.policy.geometric`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def table(
        self, score: Float64[np.ndarray, "n k"], correct: Bool[np.ndarray, "n k"], exit_flops: Sequence[int]
    ) -> Float64[np.ndarray, "r k"]:
        """Make the path from the scores alone."""
        return geometric_table(score)


class Searched(BaseModel):
    """The heuristic's thresholds, improved by what the rows got right (`serving.policy.searched`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stiffness: float = Field(DEFAULT_STIFFNESS, gt=0, allow_inf_nan=False)
    """Weight that holds the search near the heuristic."""

    def table(
        self, score: Float64[np.ndarray, "n k"], correct: Bool[np.ndarray, "n k"], exit_flops: Sequence[int]
    ) -> Float64[np.ndarray, "r k"]:
        """Make the path, in a second or so."""
        return searched_table(score, correct, exit_flops, self.stiffness)


POLICIES: dict[str, type[Geometric] | type[Searched]] = {"geometric": Geometric, "searched": Searched}
"""The policies by name; the fields of each are its options."""


def policy_class(name: str) -> type[Geometric] | type[Searched]:
    """The policy of a name, whose fields are its options.

    Raises:
        BundleError: no policy of this name.
    """
    if name not in POLICIES:
        raise BundleError(f"expected a policy out of {sorted(POLICIES)}; found {name!r}")
    return POLICIES[name]


def fit_policy(
    policy: Policy | str,
    score: Float64[np.ndarray, "n k"],
    correct: Bool[np.ndarray, "n k"],
    exit_flops: Sequence[int],
) -> PathPolicy:
    """Fit a policy on calibration rows.

    Args:
        policy: the policy, or the name of one with its own defaults.
        score: float64 [N, K], see `serving.policy.confidence.calibration_score`.
        correct: bool [N, K], whether the exit's answer is right.
        exit_flops: K costs of leaving at an exit, in FLOPs per image, rising.

    Raises:
        BundleError: no policy of this name.
        ValueError: as `PathPolicy` does.
    """
    chosen = policy_class(policy)() if isinstance(policy, str) else policy
    return PathPolicy(score, correct, exit_flops, chosen.table(score, correct, exit_flops))
