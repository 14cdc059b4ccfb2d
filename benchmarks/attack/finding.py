"""The finding of an attack: a figure, its limit, and whether it held."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One row of the table.

    Args:
        attack: what was done.
        found: what was seen, as text with units.
        expected: what a server that withstands it shows.
        held: whether it did.
        measured: whether it is a time or an amount, which depend on the machine.
    """

    attack: str
    found: str
    expected: str
    held: bool
    measured: bool = False


Attack = Callable[[], Iterator[Finding]]


def at_most(attack: str, value: float, limit: float, unit: str) -> Finding:
    """Hold a measured value against an upper limit."""
    return Finding(attack, f"{value:.3g} {unit}", f"at most {limit:g} {unit}", value <= limit, True)


def none_of(attack: str, found: Collection[str]) -> Finding:
    """Hold that nothing was found; what was, is named."""
    return is_in(attack, ", ".join(found) or "none", ("none",))


def is_in(attack: str, value: object, allowed: tuple[object, ...]) -> Finding:
    """Hold a value against those allowed."""
    return Finding(attack, str(value), " or ".join(map(str, allowed)), value in allowed)
