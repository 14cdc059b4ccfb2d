"""The results as a page: targets, rates, tails, memory, and what a request costs."""

from typing import Any

from .ratios import Spread
from .targets import HEAD, judged, missed


def targets_table(measured: dict[str, Spread]) -> str:
    """The table of targets, and a line for each miss."""
    lines = table(HEAD[1:], judged(measured))
    lines += ["", *(f"Missed: {target.text}." for target in missed(measured))]
    return "\n".join(lines).rstrip() + "\n"


def page(results: dict[str, Any]) -> str:
    """The whole page.

    Args:
        results: as `bench.py` writes them to JSON.
    """
    machine = results["machine"]
    measured = {key: Spread(**spread) for key, spread in results["measured"].items()}
    lines = [
        "# Measured: the engine and the server",
        "",
        "Written by `make bench`, which measures everything below side by side in one run; "
        "[engine.json](benchmarks/engine.json) has every round.",
        "",
        f"{results['net']}, {machine['cores']} cores ({machine['cpu']}"
        f"{''.join(f', {name}' for name in machine['has'])}), ONNX Runtime {machine['onnxruntime']}. "
        f"Exits cost {', '.join(map(str, machine['exit_mflops']))} MFLOPs. The load comes from "
        "the same cores: wrk, one thread, 64 connections, 32×32 PNGs. *Raw* is ONNX Runtime alone on decoded "
        "images, each stage in batches of 32 on exactly the rows that reach it. Full-depth servers run the "
        "whole net as one graph. *Best of ours* is the better of one process, as the command starts, and "
        "those of `--processes auto`, as the container image starts. "
        f"The budget is {results['budget']} where no other is named. "
        f"{results['rounds']} rounds of {results['seconds']:g} s.",
        "",
        "## Targets",
        "",
        *table(HEAD[1:], judged(measured)),
        *_misses(measured),
        *_notes(results["notes"]),
    ]
    numbers = results["numbers"]
    for title, key in (("Requests a second", "requests/s"), ("Images a second", "engine images/s")):
        if key in numbers:
            lines += ["", f"## {title}", "", *_rates(numbers[key])]
    if "a request us" in numbers:
        lines += ["", "## Cost of one request", "", *_costs(numbers)]
    if "70% load" in numbers:
        lines += ["", "## At 70% load", "", *_tails(numbers["70% load"])]
    if "lone request ms" in numbers:
        lines += ["", "## A lone request", "", *_lone(numbers["lone request ms"])]
    if "memory" in numbers:
        lines += ["", "## Memory", "", _memory(numbers["memory"])]
    lines += ["", "[Another page](benchmarks/README.md) measures the promises on real images."]
    return "\n".join(lines) + "\n"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return [
        f"| {' | '.join(head)} |",
        "|" + "---|" * len(head),
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _misses(measured: dict[str, Spread]) -> list[str]:
    texts = [f"{target.text} ({measured[target.key].median:.3g})" for target in missed(measured)]
    if not texts:
        return ["", "Every target that was measured is met."]
    return ["", f"Missed: {'; '.join(texts)}. [Their limits](speed.md), and the [attempts](lab-notes.md)."]


def _notes(notes: list[str]) -> list[str]:
    return ["", *(f"- {note}" for note in notes)] if notes else []


def _rates(rates: dict[str, list[float]]) -> list[str]:
    rows = []
    for name, values in rates.items():
        spread = Spread.of(values)
        rows.append([name, f"{spread.low:,.0f}", f"{spread.median:,.0f}", f"{spread.high:,.0f}"])
    return table(["", "min", "median", "max"], rows)


def _costs(numbers: dict[str, Any]) -> list[str]:
    costs = numbers["a request us"]
    parts = {
        "http": "HTTP: processor time of everything but the model, less decoding and response",
        "decode": "decode: processor time of PNG to pixels",
        "queue": "queue: what an image takes in the engine around its stages, wall time",
        "stages": "stages: ONNX Runtime on all cores, wall time",
        "response": "response: processor time of the answer's bytes",
    }
    rows = [
        [text, *(f"{cost[part]:,.1f}" if part in cost else "" for cost in costs.values())]
        for part, text in parts.items()
    ]
    return table(["µs a request", *costs], rows)


def _tails(rounds: list[dict[str, Any]]) -> list[str]:
    exits: dict[str, list[dict[str, float]]] = {}
    for one in rounds:
        for number, seen in one["exits"].items():
            exits.setdefault(str(number), []).append(seen)
    rows = []
    for number, seen in sorted(exits.items()):
        p50, p99 = (Spread.of([one[key] for one in seen]).median for key in ("p50_ms", "p99_ms"))
        answers = sum(int(one["answers"]) for one in seen)
        rows.append([number, f"{answers:,}", f"{p50:.1f}", f"{p99:.1f}", f"{p99 / p50:.2f}"])
    return table(["exit", "answers", "p50 ms", "p99 ms", "p99 / p50"], rows)


def _lone(lone: dict[str, list[float]]) -> list[str]:
    rows = []
    for name, text in (
        ("served", "over HTTP"),
        ("raw", "raw time of the same path"),
        ("extra", "difference"),
    ):
        spread = Spread.of(lone[name])
        rows.append([text, f"{spread.low:.2f}", f"{spread.median:.2f}", f"{spread.high:.2f}"])
    return table(["p50, ms", "min", "median", "max"], rows)


def _memory(memory: dict[str, Any]) -> str:
    megabytes = [f"{size / 2**20:.0f}" for size in memory["resident_bytes"]]
    return (
        f"{memory['rows']:,} images in requests of 1 to 89 ({memory['precision']}). Resident MiB, at the "
        f"start and after each twentieth: {', '.join(megabytes)}."
    )
