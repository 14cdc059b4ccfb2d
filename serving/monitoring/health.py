"""A model's health, as `GET /models/{model}/health` sums it up."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from serving.events import AgreementMeasured, BudgetCorrected, DriftMeasured
from serving.monitoring.shadow import Agreement


@dataclass(frozen=True, slots=True)
class Health:
    """A moment's view of a model; exits are indices.

    Attributes:
        alive: whether requests are answered.
        corrections: by budget class, what the closed loop does; None where it is off.
        drift: the last measurement of each exit that had one.
        agreement: of the exits that had watched images.
        agreement_of_late: of the exits that had enough of them, against the calibration.
        unchecked: early answers that were sampled and not checked, for lack of idle time.
    """

    alive: bool
    corrections: Mapping[str, BudgetCorrected] | None
    drift: Mapping[int, DriftMeasured]
    agreement: Mapping[int, Agreement]
    unchecked: int
    agreement_of_late: Mapping[int, AgreementMeasured] = field(default_factory=dict)

    @property
    def drifting(self) -> bool:
        """Whether there is an alarm at an exit."""
        return any(measured.alarm for measured in self.drift.values()) or any(
            measured.alarm for measured in self.agreement_of_late.values()
        )

    @property
    def status(self) -> Literal["dead", "drifting", "ok"]:
        """The whole in a word: `dead`, `drifting` or `ok`."""
        if not self.alive:
            return "dead"
        return "drifting" if self.drifting else "ok"
