"""Reads what a request may cost: a budget in FLOPs per image, or in milliseconds of this machine.

FLOPs are nominal: counted as the bundle's manifest counts them. A percentage is of the full depth, every head
included. Times are nominal too: what the stages took when the model was loaded (`exit_seconds`).
"""

import math
import re
from collections.abc import Sequence

import numpy as np

from serving.errors import BudgetError

SECONDS = {"ms": 1e-3, "us": 1e-6, "s": 1.0}
UNITS = {"flops": 1.0, "kflops": 1e3, "mflops": 1e6, "gflops": 1e9, "tflops": 1e12}
_FORMS = (
    "a number of FLOPs such as 1.5e8, 150MFLOPs or 0.15GFLOPs, a share of the full depth such as 50%, or a "
    "time such as 8ms"
)
_BUDGET = re.compile(
    r"(?P<sign>[+-]?)(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?|nan|inf(?:inity)?)"
    r"\s*(?P<unit>%|[a-z]*)",
    re.IGNORECASE | re.ASCII,
)
_SHOWN_CHARACTERS = 60
_MOST_CHARACTERS = 400
"""More digits than any number of FLOPs has, written out; longer texts are not looked at."""


def parse_budget(text: str, exit_flops: Sequence[int]) -> float:
    """Read a budget and hold it against what the exits cost.

    Args:
        text: `150MFLOPs`, `0.15GFLOPs`, `1.5e8` or `50%`; units in any case, k, M, G, T or none.
        exit_flops: [K] FLOPs per image of leaving at each exit, in order; the last is the full depth.

    Returns:
        The budget in FLOPs per image; never more than the full depth.

    Raises:
        BudgetError: not a budget, an unknown unit, not a positive finite number, or under the cheapest exit.

    >>> parse_budget("0.15 GFLOPs", exit_flops=(100_000_000, 400_000_000))
    150000000.0
    >>> parse_budget("50%", exit_flops=(100_000_000, 400_000_000))
    200000000.0
    """
    number, unit, shown = _read(text)
    if unit in SECONDS:
        raise BudgetError(_untimed(shown))
    full_depth = exit_flops[-1]
    budget_flops = number / 100 * full_depth if unit == "%" else number * UNITS.get(unit, 1.0)
    return min(affordable(budget_flops, exit_flops, shown), float(full_depth))


def is_time(text: str) -> bool:
    """Whether a budget is a time, whatever else may be wrong with it.

    >>> is_time("8 ms"), is_time("8MFLOPs"), is_time("50%")
    (True, False, False)
    """
    match = _matched(text)
    return match is not None and match["unit"].lower() in SECONDS


def parse_seconds(text: str, exit_seconds: Sequence[float]) -> float:
    """Read a budget in time and hold it against what the exits take.

    Args:
        text: `8ms`, `500us` or `0.008s`.
        exit_seconds: [K] seconds of compute per image of leaving at each exit, in order; none where no stage
            was timed.

    Returns:
        The budget in seconds per image; never more than the full depth takes.

    Raises:
        BudgetError: not a time, not a positive finite number, under the cheapest exit, or nothing was timed.

    >>> parse_seconds("8ms", exit_seconds=(0.002, 0.01))
    0.008
    """
    number, unit, shown = _read(text)
    if unit not in SECONDS:
        raise BudgetError(f"expected a time such as 8ms, found {shown}")
    if not exit_seconds:
        raise BudgetError(_untimed(shown))
    seconds = number * SECONDS[unit]
    if seconds < exit_seconds[0]:
        raise BudgetError(
            f"the budget {shown} is under the cheapest exit: exit 1 takes {format_seconds(exit_seconds[0])} "
            "per image on this machine, as it was measured when the model was loaded"
        )
    return min(seconds, exit_seconds[-1])


def check_budget(text: str, exit_flops: Sequence[int], exit_seconds: Sequence[float]) -> None:
    """Refuse a budget that `parse_budget`, or `parse_seconds`, does.

    Raises:
        BudgetError: as they do.
    """
    if is_time(text):
        parse_seconds(text, exit_seconds)
    else:
        parse_budget(text, exit_flops)


def flops_of(text: str, exit_flops: Sequence[int], exit_seconds: Sequence[float]) -> float:
    """The FLOPs per image of a budget; those of a time as if they grew evenly between two exits.

    Raises:
        BudgetError: as `check_budget`.
    """
    if not is_time(text):
        return parse_budget(text, exit_flops)
    return float(np.interp(parse_seconds(text, exit_seconds), exit_seconds, exit_flops))


def _untimed(shown: str) -> str:
    return (
        f"{shown} is a time, and no stage was timed here: give FLOPs, such as 150MFLOPs, or a share of the "
        "full depth, such as 50%"
    )


def _matched(text: str) -> re.Match[str] | None:
    return _BUDGET.fullmatch(text.strip()) if len(text) <= _MOST_CHARACTERS else None


def _read(text: str) -> tuple[float, str, str]:
    """The number and the unit of a budget, and the text as it can be shown.

    Raises:
        BudgetError: not a budget, an unknown unit, or not a positive finite number.
    """
    shown = repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")
    match = _matched(text)
    if match is None:
        raise BudgetError(f"expected {_FORMS}, found {shown}")
    unit = match["unit"].lower()
    if unit not in ("", "%") and unit not in UNITS and unit not in SECONDS:
        known = ", ".join(("FLOPs", "kFLOPs", "MFLOPs", "GFLOPs", "TFLOPs", "%", "ms", "us", "s"))
        raise BudgetError(f"unknown unit in {shown}: expected one of {known}, or none for FLOPs")
    number = float(match["number"])
    if match["sign"] == "-" or not math.isfinite(number) or number == 0:
        raise BudgetError(f"expected a positive, finite budget, found {shown}")
    return number, unit, shown


def affordable(budget_flops: float, exit_flops: Sequence[int], shown: str | None = None) -> float:
    """Return the budget if it pays for at least one exit.

    Args:
        budget_flops: FLOPs per image.
        exit_flops: [K] FLOPs per image of leaving at each exit.
        shown: how the caller wrote the budget, for the message.

    Raises:
        BudgetError: under the cheapest exit, which the message names; or not a number.
    """
    cheapest = min(exit_flops)
    if not budget_flops >= cheapest:
        exit_number = list(exit_flops).index(cheapest) + 1
        raise BudgetError(
            f"the budget {shown or format_flops(budget_flops)} is under the cheapest exit: "
            f"exit {exit_number} costs {cheapest} FLOPs ({format_flops(cheapest)})"
        )
    return budget_flops


def format_flops(flops: float) -> str:
    """Write FLOPs with the unit that fits.

    >>> format_flops(150e6)
    '150.0 MFLOPs'
    """
    for unit, size in (("TFLOPs", 1e12), ("GFLOPs", 1e9), ("MFLOPs", 1e6), ("kFLOPs", 1e3)):
        if flops >= size:
            return f"{flops / size:.1f} {unit}"
    return f"{flops:.0f} FLOPs"


def format_seconds(seconds: float) -> str:
    """Write a time per image with the unit that fits.

    >>> format_seconds(0.00834), format_seconds(0.00012)
    ('8.34 ms', '120 us')
    """
    return f"{1e3 * seconds:.3g} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.3g} us"
