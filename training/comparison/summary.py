"""Mean and spread over seeds, of everything that a comparison measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from training.comparison.contenders import MethodEntry
from training.comparison.runs import Measured, RunResult

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Spread:
    """Mean and sample standard deviation (n − 1) over seeds; one seed has no spread.

    Args:
        mean: float64, of any shape.
        std: the same shape, or None.
    """

    mean: Floats
    std: Floats | None

    @classmethod
    def of(cls, values: Sequence[Sequence[float] | float]) -> "Spread":
        """Take the spread over the first axis.

        >>> Spread.of([1.0, 3.0])
        Spread(mean=np.float64(2.0), std=np.float64(1.4142135623730951))
        """
        array = np.asarray(values, dtype=np.float64)
        return cls(array.mean(0), array.std(0, ddof=1) if len(array) > 1 else None)


@dataclass(frozen=True)
class MethodSummary:
    """One contender under one view (equal epochs, or equal time), over its seeds."""

    contender: MethodEntry
    outcomes: tuple[RunResult, ...]

    @property
    def finished(self) -> list[Measured]:
        """The measurements of the runs that reached their end."""
        return [outcome.measured for outcome in self.outcomes if outcome.measured]

    @property
    def accuracy(self) -> Spread | None:
        """Test accuracy [K] in 0..1 of the exits; None where no run reached its end."""
        found = [measured.exit_accuracy for measured in self.finished]
        return Spread.of(found) if found else None

    @property
    def average(self) -> Spread | None:
        """Mean test accuracy of all exits, in 0..1."""
        found = [float(np.mean(measured.exit_accuracy)) for measured in self.finished]
        return Spread.of(found) if found else None

    def area(self, kind: Literal["budgeted", "anytime"]) -> Spread | None:
        """Normalised area under the curve, in 0..1; None where a run was measured before there was any."""
        found = [measured.areas for measured in self.finished if measured.areas is not None]
        if not found or len(found) < len(self.finished):
            return None
        return Spread.of([(one.budgeted if kind == "budgeted" else one.anytime).value for one in found])

    @property
    def seconds(self) -> Spread | None:
        """Time of the runs that reached their end, validation included."""
        found = [outcome.seconds for outcome in self.outcomes if outcome.measured]
        return Spread.of(found) if found else None

    @property
    def images_per_second(self) -> Spread | None:
        """Training images of all passes per second, over all runs that did an epoch."""
        found = [o.images_per_second for o in self.outcomes if o.images_per_second is not None]
        return Spread.of(found) if found else None

    @property
    def failures(self) -> list[str]:
        """One sentence per run that did not reach its end."""
        return [f"{o.planned.name}: {o.failure}" for o in self.outcomes if o.failure]

    def curve(self) -> tuple[Floats, Spread] | None:
        """The budgeted curve: mean spent FLOPs [points], and the accuracy's spread over seeds.

        All seeds have the same budgets, since these depend on the exits' FLOPs alone.
        """
        if not self.finished:
            return None
        spent = Spread.of([[point.spent_flops for point in m.curve] for m in self.finished])
        return spent.mean, Spread.of([[point.accuracy for point in m.curve] for m in self.finished])

    def learning(self) -> tuple[Floats, Spread] | None:
        """Mean seconds and validation accuracy after each epoch that every seed reached."""
        curves = [outcome.learning for outcome in self.outcomes if outcome.measured]
        if not curves:
            return None
        length = min(map(len, curves))
        seconds = Spread.of([[second for second, _ in curve[:length]] for curve in curves])
        return seconds.mean, Spread.of([[value for _, value in curve[:length]] for curve in curves])


@dataclass(frozen=True)
class View:
    """All contenders under one condition.

    Args:
        key: "epochs" or "minutes"; names the figures' files.
        title: the condition, in words.
        standings: in the order that the user gave.
    """

    key: str
    title: str
    standings: tuple[MethodSummary, ...]

    @property
    def exit_flops(self) -> tuple[int, ...]:
        """[K], FLOPs per image of leaving at each exit; empty where no run reached its end."""
        return next((m.exit_flops for standing in self.standings for m in standing.finished), ())
