"""The events of the core (contract: the core emits, instrumentation listens).

An event is a plain frozen value; a listener is a callable. The core never waits for a listener and
names none: metrics, logs and controllers subscribe.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

BudgetKind = Literal["average", "hard", "deadline", "guarantee", "explain", "shadow"]
"""The promise of a request; the closed loop of budgets counts `average` alone. `explain` comes on top of an
answer, and nobody waits for that of a `shadow`: neither counts as spent."""

_LOGGER = logging.getLogger(__name__)

KeyLimit = Literal["requests", "flops"]
"""What of a caller's key is limited by the second."""

View = Literal["scores", "classes"]
"""The part of the answers that is compared with the calibration: confidences, or classes."""


@dataclass(frozen=True, slots=True)
class StageRan:
    """One batch went through one stage: its rows, the seconds it took, and how long each row had queued.

    `stage` is one more than the last for a batch that went through all of them in one run. `skipped_heads`
    are the exits whose heads did not run, since no row could leave there.
    """

    model: str
    stage: int
    rows: int
    seconds: float
    queue_seconds: tuple[float, ...]
    skipped_heads: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RowsBroken:
    """On so many rows of a batch the net overflowed on its way to an exit; their requests fail."""

    model: str
    exit_index: int
    rows: int


@dataclass(frozen=True, slots=True)
class TimeBudget:
    """A budget in time: seconds of compute per image, by what the stages took when the model was loaded.

    Attributes:
        seconds: what an image may take on average.
        exit_seconds: [K] what leaving at each exit takes.
        planned_seconds: what the thresholds were planned for, which the closed loop moves.
    """

    seconds: float
    exit_seconds: tuple[float, ...]
    planned_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class RequestDone:
    """A request was answered: the exit of each of its rows, the FLOPs per image spent and allowed.

    `kind` says which promise it was given (`BudgetKind`), `planned_flops` the budget that its
    thresholds were planned for, which the closed loop moves; `number` counts a model's requests as they are
    admitted. `budget_share` is less than 1 where a brown-out lowered the budget, to `budget_flops`.
    `full_flops` is the cost of leaving at the last exit. `time` is there where the budget is a time; then
    `budget_flops` is what such thresholds cost on the calibration images.
    """

    model: str
    exits: tuple[int, ...]
    flops: tuple[int, ...]
    budget_flops: float
    seconds: float
    kind: str = "average"
    planned_flops: float | None = None
    number: int | None = None
    budget_share: float = 1.0
    full_flops: int | None = None
    time: TimeBudget | None = None


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """An admitted request ended in an error (its class name) or was abandoned by its caller."""

    model: str
    error: str
    rows: int
    number: int | None = None


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """A request was not admitted; `error` is the class name of what it was answered with."""

    error: str


@dataclass(frozen=True, slots=True)
class KeyLimited:
    """A request was refused since its key, by name, has asked for more than it may."""

    key: str
    limit: KeyLimit


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """The thread that runs a model's stages failed; where it `goes_on`, only who was in got an error.

    Where it does not, the model answers 503 from now on.
    """

    model: str
    error: str
    goes_on: bool = False


@dataclass(frozen=True, slots=True)
class ModelStalled:
    """A model has had work for `seconds` and finished none of it, or (`over`) has finished some again."""

    model: str
    seconds: float
    over: bool


@dataclass(frozen=True, slots=True)
class BudgetCorrected:
    """News of a budget class in the closed loop: `factor` on its budgets, and what its images lately cost.

    `budget_class` is the class's lower edge as a share of the full depth, with `of time` behind it for
    budgets in time; `error` is the mean cost of late over that asked for, less 1.
    """

    model: str
    budget_class: str
    factor: float
    error: float


@dataclass(frozen=True, slots=True)
class BudgetsLowered:
    """From now on requests of a class get this share of their budgets, 1 for all of it (a brown-out)."""

    model: str
    priority: str
    share: float


@dataclass(frozen=True, slots=True)
class ExitShadowed:
    """An image that had left early was run to the end: did its exit and the last one name the same class?"""

    model: str
    exit_index: int
    agreed: bool
    extra_flops: int


@dataclass(frozen=True, slots=True)
class AgreementMeasured:
    """Of the last watched `images` that left at an exit, the share that the last exit agrees on.

    `expected` is what it was on the calibration; `alarm` says that it is lower than chance makes it, and
    `changed` whether the alarm was raised, or lowered, by the last image.
    """

    model: str
    exit_index: int
    share: float
    expected: float
    alarm: bool
    changed: bool
    images: int


@dataclass(frozen=True, slots=True)
class DriftMeasured:
    """The answers of late at an exit were held against the calibration's; `score` over `limit` is drift.

    `changed` says whether the alarm was raised, or lowered, by them; `of` what was held against what, and
    `rows` how many images they were, of all that was compared the furthest from the calibration.
    """

    model: str
    exit_index: int
    score: float
    limit: float
    alarm: bool
    changed: bool
    of: View
    rows: int


@dataclass(frozen=True, slots=True)
class ModelLoaded:
    """A version of a model was opened, checked and warmed, in so many seconds, and takes so much memory."""

    model: str
    version: str
    seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class CurrentVersion:
    """From now on this version answers who names none; its exits' and heads' FLOPs, and what it runs on."""

    model: str
    version: str
    exit_flops: tuple[int, ...]
    head_flops: tuple[int, ...]
    providers: tuple[str, ...]
    features: str
    runtime: str
    precision: str
    exit_seconds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelRefused:
    """A version of a model could not be loaded; what answered before still does."""

    model: str
    version: str
    reason: str


@dataclass(frozen=True, slots=True)
class ModelUnloaded:
    """A version has answered what it had and is closed; `last` where no other answers to the model's name."""

    model: str
    version: str
    memory_bytes: int
    last: bool


@dataclass(frozen=True, slots=True)
class AnswersCompared:
    """While versions are compared: one answered so many images, with FLOPs and confidences in all, or failed.

    `role` is `current`, `canary` or `shadow`.
    """

    model: str
    version: str
    role: str
    images: int
    flops: int
    confidence: float
    failed: int = 0


@dataclass(frozen=True, slots=True)
class ShadowCompared:
    """A shadow saw so many images that the current version answered, and agreed on some, or missed them."""

    model: str
    version: str
    images: int
    agreed: int
    missed: int


@dataclass(frozen=True, slots=True)
class AnswerLabelled:
    """The true class of an image that left at an exit was sent back: was the answer right?"""

    model: str
    exit_index: int
    right: bool


@dataclass(frozen=True, slots=True)
class AccuracyMeasured:
    """News of a model's accuracy from labels: `alarm` while it has fallen under what was promised.

    `changed` says whether the alarm was raised, or lowered, by the last label. `bound` is the certified share
    of answers that leaving early loses at most; None before there are enough labels.
    """

    model: str
    alarm: bool
    changed: bool
    bound: float | None


@dataclass(frozen=True, slots=True)
class DecodeThreadsChanged:
    """From now on so many threads decode images (`--decode-threads auto`)."""

    threads: int


Event = (
    StageRan
    | RowsBroken
    | RequestDone
    | RequestFailed
    | RequestRefused
    | KeyLimited
    | WorkerDied
    | ModelStalled
    | BudgetCorrected
    | BudgetsLowered
    | ExitShadowed
    | AgreementMeasured
    | DriftMeasured
    | ModelLoaded
    | CurrentVersion
    | ModelRefused
    | ModelUnloaded
    | AnswersCompared
    | ShadowCompared
    | AnswerLabelled
    | AccuracyMeasured
    | DecodeThreadsChanged
)

Listener = Callable[[Event], None]


def shielded(listener: Listener | None) -> Listener:
    """Wrap a listener so that its exceptions are logged, with the event, instead of raised.

    A broken metric must not cost a caller an answer. None listens to nothing.
    """
    if listener is None:
        return lambda _event: None

    def listen(event: Event) -> None:
        try:
            listener(event)
        except Exception:
            _LOGGER.exception("a listener failed on %s; serving goes on", type(event).__name__)

    return listen


def fan_out(*listeners: Listener) -> Listener:
    """Return one listener that calls all of `listeners`, in their order."""

    def listen(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return listen
