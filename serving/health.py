"""How a model is doing: what `GET /models/{model}/health` sums up."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from serving.events import BudgetCorrected, DriftMeasured
from serving.watcher import Agreement


@dataclass(frozen=True, slots=True)
class Health:
    """A moment's view of a model; exits are indices.

    Attributes:
        alive: whether requests are answered.
        corrections: by budget class, what the closed loop does; None where it is off.
        drift: the last measurement of each exit that had one.
        agreement: of the exits that had watched images.
        unchecked: early answers that were sampled and not checked, for lack of idle time.
    """

    alive: bool
    corrections: Mapping[str, BudgetCorrected] | None
    drift: Mapping[int, DriftMeasured]
    agreement: Mapping[int, Agreement]
    unchecked: int

    @property
    def drifting(self) -> bool:
        """Whether there is an alarm at an exit."""
        return any(measured.alarm for measured in self.drift.values())

    @property
    def status(self) -> Literal["dead", "drifting", "ok"]:
        """The whole in a word: `dead`, `drifting` or `ok`."""
        if not self.alive:
            return "dead"
        return "drifting" if self.drifting else "ok"
