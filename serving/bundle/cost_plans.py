"""Plans along one vector of costs: FLOPs, or nanoseconds on this machine.

Both are whole numbers that rise from exit to exit, so the same policy solves thresholds on either, and the
same closed loop corrects them.
"""

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache

from serving.bundle.bundle import Bundle
from serving.bundle.served_policy import Judge, expectation, served_policy
from serving.policy.group_path import GroupPath

KEPT = 1024
"""Number of budgets that are remembered."""


class CostPlans:
    """The policy of one model on one vector of costs.

    Args:
        bundle: what is served.
        costs: [K] of leaving at an exit, per image, rising.
        policy: by name; the bundle's own if None.
        correct: what a budget is planned for, as the closed loop has it; None leaves budgets as they are.

    Raises:
        BundleError: there is no such policy.
    """

    def __init__(
        self,
        bundle: Bundle,
        costs: Sequence[int],
        policy: str | None,
        correct: Callable[[float], float] | None,
    ) -> None:
        self.costs = tuple(costs)
        self._bundle, self._named, self._correct = bundle, policy, correct
        self.policy = served_policy(bundle.manifest, bundle.calibration, policy, self.costs)
        self.plan = lru_cache(maxsize=KEPT)(self.policy.plan)
        """The thresholds of a budget, on the images that they were fitted on."""

    def planned(self, budget: float) -> float:
        """The budget to plan thresholds for, as the closed loop has it."""
        return budget if self._correct is None else self._correct(budget)

    def group_path(self) -> GroupPath:
        """Return what shares out hard budgets, along the policy's own path."""
        calibration, manifest = self._bundle.calibration, self._bundle.manifest
        score = calibration.score(manifest.calibration.confidence)[calibration.fit]
        return GroupPath(self.policy.table, score, self.costs)

    @cached_property
    def judge(self) -> Judge:
        """Judges plans on images that their thresholds were not fitted on."""
        return expectation(self._bundle.manifest, self._bundle.calibration, self._named, self.costs)
