"""The mixed regime: the backbone alone first, by the last exit's loss, and then all exits by a method.

Source: Kubaty et al., "How to Train Your Multi-Exit Model? Analyzing the Impact of Training Strategies",
ICML 2025 (arXiv:2407.14320): the backbone is trained to its end, and the whole net from there.

Deviation: the two stages share the run's epochs, where the source stops each when it no longer improves.
Learning rate and loss weighting go through their whole course in each (`training.schedules.stage`).
"""

from collections.abc import Sequence
from typing import Any

from training.methods.interface import MultiExitProblem, Phase
from training.methods.registry import Method


class BackboneFirst:
    """Trains the last exit alone for some epochs, and then hands over to a method.

    Early heads are not run meanwhile and stay as they are; the method begins without the backbone's momentum.

    Args:
        problem: what is trained.
        epochs: how many epochs train the last exit alone.
        method: what trains afterwards.
    """

    def __init__(self, problem: MultiExitProblem, epochs: int, method: Method) -> None:
        self._problem, self._epochs, self._method = problem, epochs, method
        self._exits = (len(problem.reach) - 1,)
        self._phase = Phase("backbone", exits=self._exits)
        self._optimizer = problem.optimizer()
        self._done = 0

    def phases(self) -> Sequence[Phase]:
        """Return the passes of both stages: an epoch makes the first, or all others."""
        return (self._phase, *self._method.phases())

    def epoch(self) -> None:
        """Train for one epoch."""
        if self._done >= self._epochs:
            self._method.epoch()
            return
        for batch in self._problem.batches(self._phase):
            self._optimizer.zero_grad(set_to_none=True)
            (loss,) = self._problem.losses(batch, self._exits)
            loss.backward()  # type: ignore[no-untyped-call]
            self._problem.step(self._optimizer)
        self._done += 1
        self._optimizer.zero_grad(set_to_none=True)
        if self._done == self._epochs:
            self._optimizer.state.clear()  # its momentum is of no more use

    def state_dict(self) -> dict[str, Any]:
        """Return the method's state, and beside it the backbone's epochs and momentum."""
        backbone = {"epochs": self._done, "optimizer": self._optimizer.state_dict()}
        return {**self._method.state_dict(), "backbone": backbone}

    def facts(self) -> dict[str, float]:
        """Return the method's."""
        return self._method.facts()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self._method.load_state_dict(state)
        self._done = state["backbone"]["epochs"]
        self._optimizer.load_state_dict(state["backbone"]["optimizer"])
