"""The page of the variants of Meta-GF: a table for each view, from the results of all runs."""

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import mean, stdev
from typing import Any

TITLES = {
    "time": "Equal processor time, validation images",
    "epochs": "Equal epochs, validation images",
    "test": "The chosen variant, equal processor time, test images, fresh seeds",
}
HEAD = (
    "| variant | seeds | epochs | processor seconds | mean of exits | minus joint | last exit | minus joint |"
)


def page(facts: Mapping[str, Any]) -> str:
    """Return the page.

    Args:
        facts: what the benchmark writes to its JSON file.
    """
    trained = {result["variant"] for result in facts["results"]}
    parts = [
        "# Variants of Meta-GF beside joint training\n",
        "`python -m benchmarks.methods.variants` wrote this page; [results](../results.md) says what it "
        "means. Accuracy in percent, mean over seeds; differences are paired by seed, ± their standard "
        "error.\n",
    ]
    for view, title in TITLES.items():
        rows = list(table_rows(facts, view))
        if rows:
            parts += [f"## {title}\n", "\n".join([HEAD, "|---" * HEAD.count(" | ") + "|---|", *rows]), ""]
    parts += [
        "## What they are\n",
        "\n".join(_described(name, facts["variants"][name]) for name in facts["variants"] if name in trained),
        "",
    ]
    return "\n".join(parts)


def _described(name: str, variant: Mapping[str, Any]) -> str:
    rival = "" if variant["against"] in ("joint", name) else f"; compared with {variant['against']}"
    return f"- **{name}**: {variant['what']} (`{variant['method']}`){rival}"


def table_rows(facts: Mapping[str, Any], view: str) -> list[str]:
    """Return the rows of a view, best first by the mean over exits.

    Args:
        facts: as for `page`.
        view: "time", "epochs" or "test".
    """
    found: dict[str, dict[int, Mapping[str, Any]]] = {}
    for result in facts["results"]:
        if result["view"] == view:
            found.setdefault(result["variant"], {})[result["seed"]] = result
    rows = []
    for name, by_seed in found.items():
        rival = found.get(facts["variants"][name]["against"], {})
        cells = [name, str(len(by_seed))]
        cells.append(f"{mean(r['epochs'] for r in by_seed.values()):.0f}")
        cells.append(f"{mean(r['seconds'] for r in by_seed.values()):.0f}")
        averages = {seed: 100 * mean(r["accuracy"]) for seed, r in by_seed.items()}
        lasts = {seed: 100 * r["accuracy"][-1] for seed, r in by_seed.items()}
        rival_averages = {seed: 100 * mean(r["accuracy"]) for seed, r in rival.items()}
        rival_lasts = {seed: 100 * r["accuracy"][-1] for seed, r in rival.items()}
        for own, others in ((averages, rival_averages), (lasts, rival_lasts)):
            cells.append(f"{mean(own.values()):.2f}")
            is_rival = facts["variants"][name]["against"] == name
            pairs = [own[seed] - others[seed] for seed in own if seed in others]
            cells.append("" if is_rival or not pairs else difference(pairs))
        rows.append((mean(averages.values()), "| " + " | ".join(cells) + " |"))
    return [row for _, row in sorted(rows, reverse=True)]


def difference(pairs: Sequence[float]) -> str:
    """Return the mean and its standard error, of differences by seed.

    >>> difference([1.0, 2.0, 3.0]), difference([0.5])
    ('+2.00 ± 0.58', '+0.50')
    """
    error = f" ± {stdev(pairs) / sqrt(len(pairs)):.2f}" if len(pairs) > 1 else ""
    return f"{mean(pairs):+.2f}{error}"
