"""Shared parts of the benchmarks of a bundle: the command line, the answers to test images, the files."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving.bundle import Bundle
from serving.engine.engine import Engine
from training.calibration.collect import Labels, Probabilities
from training.data.batches import Data
from training.evaluation.config import EvaluateConfig
from training.evaluation.measure import data_of, served

RESAMPLES = 2_000


def command_line(description: str) -> argparse.ArgumentParser:
    """Make the parser of a benchmark: a bundle, its data set, where the results go."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", help="the data set, where the name in the bundle does not lead there")
    parser.add_argument("--out", type=Path, required=True, help="path of the results without its ending")
    return parser


def opened(bundle: Bundle, data: str | None) -> Data:
    """Open the data set of a bundle, as `training.evaluate` does."""
    return data_of(bundle, EvaluateConfig(dataset=data))


def answered(bundle: Bundle, data: Data) -> tuple[Probabilities, Labels]:
    """Return what the bundle's engine says of the test images, [N, K, C], and their labels [N]."""
    return served(Engine(bundle, threads=0), data.test())


def publish(out: Path, results: dict[str, Any], page: str) -> None:
    """Write `OUT.json` and `OUT.md`, and print the page."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    out.with_suffix(".md").write_text(page)
    print(page)


def bootstrap(differences: Any, seed: int = 0, groups: int = 1) -> list[float]:
    """Return the ends of the middle 95% of the mean, redrawn with replacement.

    Args:
        differences: float64 [N], one per image.
        seed: of the draws.
        groups: how many neighbours are drawn together.
    """
    random = np.random.default_rng(seed)
    sums = np.asarray(differences, np.float64).reshape(-1, groups).sum(axis=1)
    count = len(sums)
    means = [float(sums[random.integers(0, count, count)].mean()) / groups for _ in range(RESAMPLES)]
    return [float(end) for end in np.quantile(means, [0.025, 0.975])]


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Least, median and most."""
    return " / ".join(f"{value:.{digits}f}" for value in np.quantile(values, [0, 0.5, 1]))


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [
        f"| {' | '.join(head)} |",
        "|" + "---|" * len(head),
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def replaced_table(text: str, made_by: str, rows: str) -> str:
    """Return a page with what stands between `<!-- made by … -->` and `<!-- end -->` replaced.

    Raises:
        ValueError: the page has no such place.
    """
    start, end = f"<!-- made by {made_by} -->\n", "<!-- end -->"
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"expected a place between {start.strip()} and {end}")
    return f"{before}{start}\n{rows}\n\n{end}{after}"
