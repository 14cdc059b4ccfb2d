"""Joint training: the plain sum of the exits' losses, the baseline of the multi-exit literature.

Source: Huang et al., "Multi-Scale Dense Networks", ICLR 2018, eq. 1 with every weight at 1.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from training.methods.problem import Phase, Problem

_PHASE = Phase("all exits")


class JointOptions(BaseModel):
    """Joint training has no options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Joint:
    """Steps along the gradient of the sum of all exits' losses.

    Args:
        problem: what is trained.
        options: none.
    """

    def __init__(self, problem: Problem, options: JointOptions) -> None:
        self._problem = problem
        self._optimizer = problem.optimizer()

    def phases(self) -> Sequence[Phase]:
        """Return the one pass over all training images."""
        return (_PHASE,)

    def epoch(self) -> None:
        """Train for one pass over the data."""
        exits = range(len(self._problem.reach))
        for batch in self._problem.batches(_PHASE):
            self._optimizer.zero_grad(set_to_none=True)
            self._problem.losses(batch, exits).sum().backward()  # type: ignore[no-untyped-call]
            self._problem.step(self._optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's momentum."""
        return {"optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a saved momentum."""
        self._optimizer.load_state_dict(state["optimizer"])
