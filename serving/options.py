"""The options of a request and their combinations; docs/promises.md has the same as a table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from serving.errors import TermsError
from serving.policy.risk import DEFAULT_DELTA

Budget = str | float
DEFAULT_BUDGET = "100%"
Mode = Literal["average", "hard"]
MODES: tuple[Mode, ...] = ("average", "hard")
Priority = Literal["high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)
"""Classes of requests, the most urgent first."""


@dataclass(frozen=True, slots=True)
class ClassifyOptions:
    """The options of one request; None is the server's default.

    Attributes:
        budget: what an image may cost: text such as "150MFLOPs", "50%" or "8ms", or FLOPs per image.
        mode: "average", over all requests of that budget, or "hard", over the images of this request.
        deadline_seconds: the best answer reached by then is taken; counted from the request's receipt.
        max_drop: a guarantee: the share of answers that may be lost by leaving early. A budget beside it is a
            cap on what that may cost.
        probabilities: whether answers bring the probabilities of all classes.
        timings: whether the request notes its runs of stages (`Request.stage_times`).
        priority: the class of the request: while too much waits, budgets of `low` are lowered first, then
            those of `normal`, which is the default. Hard budgets, deadlines and guarantees never are.
        explain: whether the answer says what every exit makes of the image, of which there is one. It runs
            them all, and counts neither as spent nor as drift.
        model: whose answer is wanted; it goes with everything. A model in process answers for itself alone.
    """

    budget: str | float | None = None
    mode: Mode = "average"
    deadline_seconds: float | None = None
    max_drop: float | None = None
    model: str | None = None
    probabilities: bool = False
    explain: bool = False
    priority: Priority | None = None
    timings: bool = False


def check(ask: ClassifyOptions, model: str | None = None) -> None:
    """Hold each parameter against its range, and the parameters against each other.

    Args:
        ask: what is asked for.
        model: the name of the model that is asked, once it is known.

    Raises:
        TermsError: the text says which, and why.
    """
    if ask.model == "":
        raise TermsError("expected the name of a model, found an empty one: name it, or leave model out")
    if model is not None and ask.model not in {None, model}:
        raise TermsError(f"expected model={model}, which is the one asked, found {str(ask.model)[:60]!r}")
    _check_word("mode", ask.mode, MODES)
    if ask.priority is not None:
        _check_word("priority", ask.priority, PRIORITIES)
    if ask.deadline_seconds is not None and not 0 < ask.deadline_seconds < math.inf:  # so that a NaN fails it
        raise TermsError(
            f"expected a deadline of more than 0 ms, and a finite one, found {1000 * ask.deadline_seconds:g}"
        )
    if ask.explain and (ask.mode == "hard" or ask.deadline_seconds is not None):
        other = "mode=hard" if ask.mode == "hard" else "deadline_ms"
        raise TermsError(
            f"explain and {other} contradict each other: the exits are held against thresholds, which "
            f"{other} does not have; give one of them"
        )
    if ask.max_drop is None:
        return
    if not 0 < ask.max_drop < 1:
        raise TermsError(f"expected max_drop between 0 and 1, such as 0.02, found {ask.max_drop:g}")
    if ask.mode == "hard":
        raise TermsError(
            "max_drop and mode=hard contradict each other: a hard budget sends images out early to keep to "
            "its sum, whatever answers that loses; give one of them"
        )
    if ask.deadline_seconds is not None:
        raise TermsError(
            "max_drop and deadline_ms contradict each other: a deadline sends images out earlier than the "
            "guarantee allows; give one of them"
        )


def _check_word(name: str, found: str, words: Sequence[str]) -> None:
    if found not in words:
        raise TermsError(f"expected {name}={f' or {name}='.join(words)}, found {str(found)[:60]!r}")


def lower_of(asked: Priority | None, allowed: Priority | None) -> Priority | None:
    """Return the less urgent of the class that a request asks for and the one that its caller has."""
    if asked is None or allowed is None:
        return asked or allowed
    return max(asked, allowed, key=PRIORITIES.index)


@dataclass(frozen=True, slots=True)
class ServingConfig:
    """A model's way to keep its promises.

    Attributes:
        default_budget: of requests that name none.
        policy: turns budgets into thresholds; the bundle's own if None.
        max_drop: a guarantee for requests that ask for nothing else, in place of the default budget.
        delta: the chance, over the draw of the certifying images, that a guarantee does not hold.
        controller: whether what images cost corrects what thresholds are planned for.
        brownout: whether budgets are lowered while too much waits.
        brownout_floor: the least share of its budgets that a class keeps, in (0, 1].
        brownout_queue_share: the share of the queue that may stand full before budgets are lowered.
        sample_share: of the images, whose early answers are checked in idle time, 0 to 1.
        sample_seed: of the draw.
        drift_window_rows: how many images at an exit make one measurement of drift.
    """

    default_budget: Budget = DEFAULT_BUDGET
    policy: str | None = None
    max_drop: float | None = None
    delta: float = DEFAULT_DELTA
    controller: bool = True
    brownout: bool = True
    brownout_floor: float = 0.25
    brownout_queue_share: float = 0.125
    sample_share: float = 0.0
    sample_seed: int = 0
    drift_window_rows: int = 2000
