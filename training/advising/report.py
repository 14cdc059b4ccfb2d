"""What the comparison comes to: a table, sentences, and the figures as JSON."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from training.advising.frontier import (
    KEPT,
    Cost,
    Measured,
    Verdict,
    best_within,
    frontier,
    gain,
    single,
    verdicts,
)


@dataclass(frozen=True)
class Advice:
    """All that was measured, and what was asked.

    Args:
        points: every alternative under every budget.
        images: how many judged.
        source: where these are from.
        truth: `labels`, or the name of the network whose answers are taken for right.
        full_flops: the dearest network's.
        budget_flops: what an image may cost, where that was said.
        latency_ms: in which 95% of single images are to be answered, where that was said.
        left_out: a sentence on each alternative that could not be built.
    """

    points: Sequence[Measured]
    images: int
    source: str
    truth: str
    full_flops: float
    budget_flops: float | None
    latency_ms: float | None
    left_out: Sequence[str]

    @property
    def right(self) -> str:
        """Return what a share of right answers is called."""
        return "accuracy" if self.truth == "labels" else f"agrees with {self.truth}"


def by_flops(point: Measured) -> float:
    """Return a point's cost in FLOPs per image."""
    return point.spent_flops


def by_time(point: Measured) -> float:
    """Return a point's cost in milliseconds per single image."""
    return point.mean_ms


def show(advice: Advice, console: Console) -> None:
    """Print the table and the sentences."""
    on_flops, on_time = (
        {id(point) for point in frontier(advice.points, cost)} for cost in (by_flops, by_time)
    )
    table = Table(
        Column("alternative", no_wrap=True),
        "budget MFLOPs",
        "spent",
        f"{advice.right} %",
        "ms (95%)",
        "images/s",
        "best for",
        title=f"{advice.images:,} images of {advice.source}, asked over HTTP",
    )
    for point in advice.points:
        marks = [name for name, best in (("FLOPs", on_flops), ("ms", on_time)) if id(point) in best]
        table.add_row(
            str(point),
            "" if point.budget_flops is None else f"{point.budget_flops / 1e6:,.4g}",
            f"{point.spent_flops / 1e6:,.4g}",
            f"{100 * point.accuracy:.2f}",
            f"{point.mean_ms:.2f} ({point.p95_ms:.2f})",
            f"{point.images_per_second:,.4g}",
            ", ".join(marks),
        )
    console.print(table)
    for line in sentences(advice):
        console.print(line, soft_wrap=True, highlight=False)


def sentences(advice: Advice) -> list[str]:
    """Say what is best for what was asked, and where leaving early pays."""
    lines = list(advice.left_out)
    if advice.budget_flops is not None:
        lines += _best(advice, f"{_mflops(advice.budget_flops)}", by_flops, advice.budget_flops * KEPT)
    if advice.latency_ms is not None:
        wanted = f"95% of single images within {advice.latency_ms:g} ms"
        lines += _best(advice, wanted, lambda point: point.p95_ms, advice.latency_ms)
    groups: dict[str, list[Measured]] = {}
    for point in advice.points:
        if point.exits > 1:
            groups.setdefault(str(point), []).append(point)
    rivals = single(advice.points)
    for name, points in groups.items():
        for cost, form in ((by_flops, _flops_range), (by_time, _time_range)):
            found = verdicts(points, rivals, cost)
            lines.append(f"{name}: {_told(found, form, 'MFLOPs' if cost is by_flops else 'ms')}")
    return lines


def as_json(advice: Advice) -> dict[str, Any]:
    """Return the figures as plain values."""
    best = {
        name: [_key(point) for point in frontier(advice.points, cost)]
        for name, cost in (("flops", by_flops), ("ms", by_time))
    }
    return {
        "images": advice.images,
        "source": advice.source,
        "truth": advice.truth,
        "full_flops": advice.full_flops,
        "budget_flops": advice.budget_flops,
        "latency_ms": advice.latency_ms,
        "points": [
            {
                "alternative": point.title,
                "bundle": point.bundle,
                "kind": point.kind,
                "precision": point.precision,
                "budget_flops": point.budget_flops,
                "spent_flops": point.spent_flops,
                "accuracy": point.accuracy,
                "mean_ms": point.mean_ms,
                "p95_ms": point.p95_ms,
                "images_per_second": point.images_per_second,
                "shares": list(point.shares),
            }
            for point in advice.points
        ],
        "frontier": best,
        "sentences": sentences(advice),
    }


def write(advice: Advice, file: Path) -> None:
    """Write the figures."""
    file.write_text(json.dumps(as_json(advice), indent=1) + "\n")


def _best(advice: Advice, wanted: str, cost: Cost, limit: float) -> list[str]:
    best = best_within(advice.points, cost, limit)
    if best is None:
        cheapest = min(advice.points, key=cost)
        return [
            f"{wanted}: nothing is so cheap; {cheapest} comes nearest, with {_mflops(cheapest.spent_flops)}, "
            f"95% within {cheapest.p95_ms:.2f} ms"
        ]
    asked = "" if best.budget_flops is None else f", asked with budget={best.budget_flops / 1e6:.4g}MFLOPs"
    lines = [
        f"{wanted}: {best} in bundle {best.bundle}{asked}: {100 * best.accuracy:.2f}% at "
        f"{_mflops(best.spent_flops)}, {best.mean_ms:.2f} ms"
    ]
    alone = best_within(single(advice.points), cost, limit)
    if alone is None and best.exits > 1:
        lines.append(f"{wanted}: no single network is so cheap")
    elif alone is not None and alone is not best:
        more = gain(best, alone)
        chance = "" if more.better else ", which may be chance"
        lines.append(
            f"{wanted}: that is {100 * more.mean:+.2f} ± {100 * more.error:.2f} points over the best single "
            f"network, {alone} with {100 * alone.accuracy:.2f}%{chance}"
        )
    return lines


def _told(found: Sequence[Verdict], form: Callable[[Sequence[Verdict]], str], unit: str) -> str:
    """Say at which costs leaving early pays, at which it does not, and where it makes no difference."""
    parts = []
    pays = [verdict for verdict in found if verdict.gain is None or verdict.gain.better]
    loses = [verdict for verdict in found if verdict.gain is not None and verdict.gain.worse]
    same = [verdict for verdict in found if verdict not in pays and verdict not in loses]
    won = [verdict.gain.mean for verdict in pays if verdict.gain is not None]
    if pays:
        gained = f" (up to {100 * max(won):+.2f} points)" if won else " (no single network is so cheap)"
        parts.append(f"pays at {form(pays)}{gained}")
    if loses:
        worst = min(loses, key=lambda verdict: verdict.gain.mean if verdict.gain else 0.0)
        assert worst.rival is not None  # noqa: S101 - a gain is over somebody
        assert worst.gain is not None  # noqa: S101
        parts.append(
            f"does not pay at {form(loses)} ({worst.rival} is better, by up to "
            f"{-100 * worst.gain.mean:.2f} points)"
        )
    if same:
        parts.append(f"makes no difference at {form(same)}")
    return f"in {unit}, leaving early " + "; ".join(parts)


def _flops_range(found: Sequence[Verdict]) -> str:
    return _range([verdict.point.spent_flops / 1e6 for verdict in found], "MFLOPs")


def _time_range(found: Sequence[Verdict]) -> str:
    return _range([verdict.point.mean_ms for verdict in found], "ms")


def _range(values: Sequence[float], unit: str) -> str:
    return ", ".join(f"{value:.3g}" for value in values) + f" {unit}"


def _mflops(flops: float) -> str:
    return f"{flops / 1e6:,.4g} MFLOPs"


def _key(point: Measured) -> dict[str, Any]:
    return {"bundle": point.bundle, "budget_flops": point.budget_flops}
