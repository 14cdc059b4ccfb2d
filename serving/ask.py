"""What a caller may ask for, and what goes together; docs/promises.md has the same as a table."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from serving.errors import TermsError

Mode = Literal["average", "hard"]
MODES: tuple[Mode, ...] = ("average", "hard")
PARAMETERS = ("budget", "max_drop", "mode", "deadline_ms", "model")
"""The query parameters that `read_ask` reads."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What one request asks for; None is "as the server does by default".

    Attributes:
        budget: what an image may cost: text such as "150MFLOPs" or "50%", or FLOPs per image.
        mode: "average", over all requests of that budget, or "hard", over the images of this request.
        deadline_seconds: the best answer reached by then is taken; counted from the request's receipt.
        max_drop: a guarantee: the share of answers that may be lost by leaving early. A budget beside it is a
            cap on what that may cost.
        model: whose answer is wanted; it goes with everything. A model in process answers for itself alone.
    """

    budget: str | float | None = None
    mode: Mode = "average"
    deadline_seconds: float | None = None
    max_drop: float | None = None
    model: str | None = None


def check(ask: Ask, model: str | None = None) -> None:
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
    if ask.mode not in MODES:
        raise TermsError(f"expected mode={' or mode='.join(MODES)}, found {str(ask.mode)[:60]!r}")
    if ask.deadline_seconds is not None and not 0 < ask.deadline_seconds < math.inf:  # so that a NaN fails it
        raise TermsError(
            f"expected a deadline of more than 0 ms, and a finite one, found {1000 * ask.deadline_seconds:g}"
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


def read_ask(query: Mapping[str, str]) -> Ask:
    """Read what a query asks for, and check it; a parameter that is not there is not asked for.

    Raises:
        TermsError: as `check`, and for what is no number.
    """
    ask = Ask(
        budget=query.get("budget"),
        mode=query.get("mode", "average"),  # type: ignore[arg-type] # checked below, as callers' own are
        deadline_seconds=_milliseconds(query["deadline_ms"]) if "deadline_ms" in query else None,
        max_drop=_number("max_drop", query["max_drop"]) if "max_drop" in query else None,
        model=query.get("model"),
    )
    check(ask)
    return ask


def _milliseconds(text: str) -> float:
    return _number("deadline_ms", text) / 1000


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise TermsError(f"expected {name} to be a number, found {text[:60]!r}") from error
