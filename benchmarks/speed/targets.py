"""The server's targets: each with its measured figure and verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .ratios import Spread


@dataclass(frozen=True)
class Target:
    """One line of the table.

    Args:
        key: under which the measurements have it.
        text: what is compared with what.
        bound: whether the value is the least or the most.
        value: of the target.
        unit: of the value; none for a ratio.
    """

    key: str
    text: str
    bound: Literal[">=", "<="]
    value: float
    unit: str = ""

    def met(self, spread: Spread) -> bool:
        """Whether the median of the rounds is within the bound."""
        return spread.median >= self.value if self.bound == ">=" else spread.median <= self.value


TARGETS: tuple[Target, ...] = (
    Target("engine_over_raw", "engine alone / raw, at 50%", ">=", 0.95),
    Target("server_over_raw", "server, 64 connections / raw, at 150 MFLOPs", ">=", 0.80),
    Target("server_over_full", "best of ours, 150 MFLOPs / best full-depth float server", ">=", 1.7),
    Target("lone_extra_ms", "lone request, p50, less raw time of its path", "<=", 1.0, "ms"),
    Target("tail", "p99 / p50 of one exit, at 70% load", "<=", 3.0),
    Target("idle_share", "idle: share of a core", "<=", 0.02),
    Target("memory_growth", "resident memory, end / after a tenth of the rows", "<=", 1.05),
    Target("int8_engine", "int8 engine / float engine, at 150 MFLOPs", ">=", 2.5),
    Target("int8_server", "int8 server / float server, at 150 MFLOPs", ">=", 2.0),
    Target("int8_over_full", "best of ours in int8 / best full-depth float server", ">=", 3.5),
    Target("int8_over_full_int8", "best of ours in int8 / best full-depth int8 server", ">=", 1.3),
)


def judged(measured: Mapping[str, Spread], targets: Sequence[Target] = TARGETS) -> list[list[str]]:
    """Return the table's rows: target, bound, min, median, max, rounds, verdict."""
    return [_row(target, measured.get(target.key)) for target in targets]


def missed(measured: Mapping[str, Spread], targets: Sequence[Target] = TARGETS) -> list[Target]:
    """The targets that were measured and not met."""
    return [target for target in targets if target.key in measured and not target.met(measured[target.key])]


HEAD = ["", "target", "min", "median", "max", "rounds", ""]


def _row(target: Target, spread: Spread | None) -> list[str]:
    unit = f" {target.unit}" if target.unit else ""
    bound = f"{'≥' if target.bound == '>=' else '≤'} {target.value:g}{unit}"
    if spread is None:
        return [target.text, bound, "", "", "", "", "not measured"]
    values = [f"{value:.3g}" for value in (spread.low, spread.median, spread.high)]
    return [target.text, bound, *values, str(spread.rounds), "met" if target.met(spread) else "**missed**"]
