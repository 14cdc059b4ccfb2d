"""Reads what a request may cost: a budget in FLOPs per image.

FLOPs are nominal: counted as the bundle's manifest counts them. A percentage is of the full depth, every head
included.
"""

import math
import re
from collections.abc import Sequence

from serving.errors import BudgetError

UNITS = {"flops": 1.0, "kflops": 1e3, "mflops": 1e6, "gflops": 1e9, "tflops": 1e12}
_FORMS = "a number of FLOPs such as 1.5e8, 150MFLOPs or 0.15GFLOPs, or a share of the full depth such as 50%"
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
    shown = repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")
    match = _BUDGET.fullmatch(text.strip()) if len(text) <= _MOST_CHARACTERS else None
    if match is None:
        raise BudgetError(f"expected {_FORMS}, found {shown}")
    unit = match["unit"].lower()
    if unit not in ("", "%") and unit not in UNITS:
        known = ", ".join(("FLOPs", "kFLOPs", "MFLOPs", "GFLOPs", "TFLOPs", "%"))
        raise BudgetError(f"unknown unit in {shown}: expected one of {known}, or none for FLOPs")
    number = float(match["number"])
    if match["sign"] == "-" or not math.isfinite(number) or number == 0:
        raise BudgetError(f"expected a positive, finite budget, found {shown}")
    full_depth = exit_flops[-1]
    budget_flops = number / 100 * full_depth if unit == "%" else number * UNITS.get(unit, 1.0)
    return min(affordable(budget_flops, exit_flops, shown), float(full_depth))


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
