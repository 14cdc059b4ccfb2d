"""The closed loop of budgets: what images really cost corrects what the thresholds are planned for.

Thresholds are planned on calibration images; traffic that is harder costs more than its budget, easier
traffic less. Budgets fall into classes, log-spaced and 5% wide. A class keeps one factor on its budgets, the
exponential of an integral: for an image that was asked to cost b on average and cost f,

    log factor −= gain · (f / b − 1)

so the mean of f / b − 1 over a stretch in which gain, bounds and factor are not reset is the change of the
integral over it, divided by gain and length: it vanishes as the stretch grows, whatever the traffic is like.
The gain is 1 / (images that the factor rests on), at least `_LEAST_GAIN`. That number starts at
`_PRIOR_IMAGES`, which is the calibration's weight, and falls when a two-sided cumulative sum of the errors
(Page, *Continuous Inspection Schemes*, Biometrika 1954) says that the traffic has changed: the factor is then
set by the mean error since the change began, and rests on these images. The first such jump supposes that
cost is in proportion to the planned budget, as it is on the calibration. On other traffic it can be far
steeper, and the jump goes too far. So the next one follows the secant through the mean errors before and
after it, of a slope of 1 to `_MOST_SLOPE`.

An image is answered some time after its thresholds were frozen, and the factor may have moved in between.
Its cost is then scaled by the ratio of the budget planned now to the one planned then, to the power of that
slope (Smith, *Closer Control of Loops with Dead Time*, 1957): a past correction is not made twice, however
many images are under way. Images count in the order in which they were admitted
(`serving.monitoring.reorder`), since of many at once the cheap ones are answered first.

Anti-windup: the integral is kept within what a budget of the class can be corrected to, between the cheapest
exit and the full depth, so it never has a saturated stretch to unwind.

Pure: no clock, no I/O; safe from any thread.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from serving.events import BudgetCorrected, Event, RequestDone

CLASS_WIDTH = 1.05
"""The upper edge of a budget class over its lower edge."""

_LEAST_GAIN = 1 / 2000
_PRIOR_IMAGES = 2000.0
_MOST_SLOPE = 10.0
_RELATED_IMAGES = 6000  # after so many without a jump, the last one says nothing of what changes now
_TRANSIENT = ("slope", "jump_log_factor", "jump_error")  # of use for some thousand images, and not kept
_TOLERANCE = 0.03  # errors that the cumulative sums forgive: half of the smallest change worth a jump
_APART = 250_000  # images between false alarms for normal errors; skewed ones (low budgets) halve it
_VARIANCE_MEMORY = 0.995
_STEP = 0.002  # budgets are corrected in steps of 0.2%, so that plans can be remembered
_LATE_MEMORY = 0.999
_NANO = 1e9
_TOLD_ERROR = 0.01  # the mean error is reported again after such a change, also where the correction cannot


@dataclass(slots=True)
class ClassState:
    """The state of a budget class: plain numbers, for the state file as they are.

    Attributes:
        log_factor: the integral.
        images: how many images it rests on.
        over, under: the cumulative sums of errors above and below the tolerance.
        over_images, under_images: how many images ago each was last 0.
        variance: of the errors, running.
        late_error: the mean error of late.
        slope: by how much the error changes with the integral, as far as is known.
        jump_log_factor, jump_error: the integral before its last jump, and the mean error there; an error of
            0 where there was none.
        reported_steps: the correction, in steps, that was last reported.
        reported_error: the mean error that was last reported.
    """

    log_factor: float = 0.0
    images: float = _PRIOR_IMAGES
    over: float = 0.0
    under: float = 0.0
    over_images: int = 0
    under_images: int = 0
    variance: float = 0.25
    late_error: float = 0.0
    slope: float = 1.0
    jump_log_factor: float = 0.0
    jump_error: float = 0.0
    reported_steps: int = 0
    reported_error: float = 0.0

    def learn(self, error: float, spent_error: float) -> None:
        """Take in one image's relative error, spent over asked less 1: as it would be now, and as it was."""
        self.variance = _VARIANCE_MEMORY * self.variance + (1 - _VARIANCE_MEMORY) * error * error
        self.late_error = _LATE_MEMORY * self.late_error + (1 - _LATE_MEMORY) * spent_error
        self.images += 1
        self.log_factor -= max(1 / self.images, _LEAST_GAIN) * error
        self.over = max(0.0, self.over + error - _TOLERANCE)
        self.under = max(0.0, self.under - error - _TOLERANCE)
        self.over_images = self.over_images + 1 if self.over else 0
        self.under_images = self.under_images + 1 if self.under else 0
        limit = evidence(self.variance)
        if self.over > limit:
            self._restart(self.over / self.over_images + _TOLERANCE, self.over_images)
        elif self.under > limit:
            self._restart(-self.under / self.under_images - _TOLERANCE, self.under_images)

    def _restart(self, mean_error: float, images: int) -> None:
        self.slope = self._secant(mean_error)
        self.jump_log_factor, self.jump_error = self.log_factor, mean_error
        self.log_factor -= mean_error / self.slope if self.slope > 1 else math.log1p(max(mean_error, -0.9))
        self.images = float(images)
        self.over = self.under = 0.0
        self.over_images = self.under_images = 0

    def _secant(self, mean_error: float) -> float:
        """The slope between the last jump's start and now; 1 where cost may follow the planned budget."""
        moved = self.log_factor - self.jump_log_factor
        if not self.jump_error or not moved or self.images > _RELATED_IMAGES:
            return 1.0
        return min(max((mean_error - self.jump_error) / moved, 1.0), _MOST_SLOPE)


def evidence(variance: float) -> float:
    """The limit of the cumulative sums at which false alarms are about `_APART` images apart.

    A two-sided sum that forgives k and stops at h, of errors with variance v around 0, runs for about
    v / (4 k²) · (e^(2kh/v) − 1 − 2kh/v) images (the diffusion approximation; Siegmund, *Sequential Analysis*,
    1985, section II.6). Solved for h, without the last two terms, which shortens the run by a few per cent.

    Args:
        variance: of the relative errors.

    >>> round(evidence(0.25), 1), round(evidence(0.02), 2)
    (34.1, 3.57)
    """
    if variance <= 0:
        return 0.0
    return variance / (2 * _TOLERANCE) * math.log1p(_APART * 4 * _TOLERANCE**2 / variance)


class BudgetController:
    """Corrects the budgets of one model, class by class; a listener to the model's events.

    Only requests of the kind `average` count. Hard budgets, deadlines and guarantees decide by other rules,
    and images that are watched in idle time are no requests of a caller.

    Args:
        model: its name.
        exit_flops: K costs of leaving at an exit, in FLOPs per image, or in nanoseconds.
        of_time: whether they are nanoseconds: only budgets in time count then, else only those in FLOPs.
        emit: gets `BudgetCorrected` whenever a class's correction moves by a step, or its mean error by 1%.
        max_classes: how many are remembered; the one that was used longest ago makes room.
    """

    def __init__(
        self,
        model: str,
        exit_flops: Sequence[int],
        *,
        of_time: bool = False,
        emit: Callable[[Event], None] = lambda event: None,
        max_classes: int = 128,
    ) -> None:
        self._of_time = of_time
        self._costs = tuple(exit_flops)
        self._model = model
        self._cheapest, self._full = float(exit_flops[0]), float(exit_flops[-1])
        self._emit = emit
        self._max_classes = max_classes
        self._lock = threading.Lock()
        self._classes: OrderedDict[int, ClassState] = OrderedDict()

    def effective(self, budget_flops: float) -> float:
        """The budget that thresholds are to be planned for, so that images cost `budget_flops` on average.

        The cheapest exit's cost and the full depth's can be met exactly, and are never corrected, whatever
        their neighbours in the class need.

        Args:
            budget_flops: what was asked for, from the cheapest exit to the full depth.
        """
        if self._exact(budget_flops):
            return budget_flops
        with self._lock:
            state = self._classes.get(self.budget_class(budget_flops))
            if state is None:
                return budget_flops
            factor = math.exp(_STEP * round(state.log_factor / _STEP))
        return min(max(budget_flops * factor, self._cheapest), self._full)

    def __call__(self, event: Event) -> None:
        """Learn from a `RequestDone` of this model that counts."""
        if not (isinstance(event, RequestDone) and event.model == self._model and event.kind == "average"):
            return
        if not self._of_time:
            if event.time is None:
                self.learn(event.budget_flops, event.flops, event.planned_flops)
        elif event.time is not None:
            planned = event.time.planned_seconds
            self.learn(
                _NANO * event.time.seconds,
                [self._costs[exit_index] for exit_index in event.exits],
                None if planned is None else _NANO * planned,
            )

    def learn(self, budget_flops: float, flops: Sequence[int], planned_flops: float | None = None) -> None:
        """Take in what images cost.

        Args:
            budget_flops: what they were asked to cost on average, in FLOPs per image.
            flops: what each of them cost.
            planned_flops: what their thresholds were planned for; what they would be now if None.
        """
        if self._exact(budget_flops):
            return
        number = self.budget_class(budget_flops)
        with self._lock:
            state = self._classes.setdefault(number, ClassState())
            self._classes.move_to_end(number)
            while len(self._classes) > self._max_classes:
                self._classes.popitem(last=False)
            least, most = math.log(self._cheapest / budget_flops), math.log(self._full / budget_flops)
            for spent in flops:
                now = 1.0
                if planned_flops is not None:
                    moved = math.log(budget_flops / planned_flops) + min(max(state.log_factor, least), most)
                    now = math.exp(min(max(state.slope * moved, least - most), most - least))
                state.learn(now * spent / budget_flops - 1, spent / budget_flops - 1)
                state.log_factor = min(max(state.log_factor, least), most)
            steps, late_error = round(state.log_factor / _STEP), state.late_error
            news = steps != state.reported_steps or abs(late_error - state.reported_error) >= _TOLD_ERROR
            if news:
                state.reported_steps, state.reported_error = steps, late_error
        if news:
            self._emit(BudgetCorrected(self._model, self.label(number), math.exp(_STEP * steps), late_error))

    def budget_class(self, budget_flops: float) -> int:
        """The number of a budget's class, from 0, the cheapest exit's, to that of the full depth."""
        return max(0, math.floor(math.log(budget_flops / self._cheapest) / math.log(CLASS_WIDTH) + 1e-9))

    def _exact(self, budget_flops: float) -> bool:
        return not self._cheapest < budget_flops < self._full

    def label(self, number: int) -> str:
        """A class by its lower edge as a share of the full depth, such as `24.1%` or `24.1% of time`."""
        share = f"{100 * self._cheapest * CLASS_WIDTH**number / self._full:.3g}%"
        return f"{share} of time" if self._of_time else share

    def corrections(self) -> dict[str, BudgetCorrected]:
        """Corrections in force, by the label of the class."""
        with self._lock:
            states = {number: (state.log_factor, state.late_error) for number, state in self._classes.items()}
        return {
            self.label(number): BudgetCorrected(
                self._model, self.label(number), math.exp(_STEP * round(log_factor / _STEP)), late_error
            )
            for number, (log_factor, late_error) in sorted(states.items())
        }

    def state(self) -> dict[str, dict[str, float]]:
        """All that has been learned, as plain numbers for JSON, the class used longest ago first."""
        with self._lock:
            return {str(number): _kept(state) for number, state in self._classes.items()}

    def restore(self, state: dict[str, dict[str, float]]) -> None:
        """Go on from what `state` returned.

        Raises:
            ValueError: it is not of that form, or a number is not one that learning could have left.
        """
        restored: OrderedDict[int, ClassState] = OrderedDict()
        for number, values in state.items():
            expected = _kept(ClassState())
            if values.keys() != expected.keys() or not all(map(math.isfinite, values.values())):
                raise ValueError(f"expected the finite numbers {sorted(expected)} of class {number}")
            known = ClassState(**values)  # type: ignore[arg-type]
            if not (0 <= int(number) <= self.budget_class(self._full) and self._plausible(known)):
                raise ValueError(f"expected a budget class as learning leaves it, found {number}: {values}")
            restored[int(number)] = known
        while len(restored) > self._max_classes:
            restored.popitem(last=False)
        with self._lock:
            self._classes = restored

    def _plausible(self, state: ClassState) -> bool:
        """Tell whether a state is within its bounds; one that is not would fail at the next image."""
        sums = ((state.over, state.over_images), (state.under, state.under_images))
        return (
            abs(state.log_factor) <= math.log(self._full / self._cheapest) + 1e-9
            and state.images > 0
            and state.variance >= 0
            and all(total >= 0 and images >= (total > 0) for total, images in sums)
        )


def _kept(state: ClassState) -> dict[str, float]:
    """What of a state is kept over a restart."""
    return {name: value for name, value in asdict(state).items() if name not in _TRANSIENT}
