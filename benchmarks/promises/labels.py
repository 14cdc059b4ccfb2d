"""How often the alarm on labelled accuracy is false, and how soon it notices a fall.

    python -m benchmarks.promises.labels --out docs/benchmarks/labels

Simulated streams of labels, no network: right with a probability, independently. First at exactly the
promised accuracy, where a false alarm is as likely as it gets. Then streams whose accuracy falls after 10,000
labels. The exit status is 1 where there is a false alarm, or where a fall of 10 points is not noticed.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.promises.label_streams import alarms
from benchmarks.reporting import publish, table

CALM = 10_000


def measured(given: argparse.Namespace) -> dict[str, Any]:
    """Simulate all streams, a few seeds at a time."""
    calm, falls = [], []
    for expected in given.expected:
        found = [
            alarms(_stream(seed, given.labels, expected), expected, given.delta)[0]
            for seed in range(given.seeds)
        ]
        calm.append({"expected": expected, "false_alarms": int(sum(place >= 0 for place in found))})
        for fall in given.falls:
            after = []
            for seed in range(given.fall_seeds):
                right = _stream(seed, 2 * CALM, expected)
                right[:, CALM:] = np.random.default_rng(10_000 + seed).random(CALM) < expected - fall
                after.append(int(alarms(right, expected, given.delta)[0]) - CALM)
            noticed = [labels for labels in after if labels >= 0]
            falls.append(
                {
                    "expected": expected,
                    "fall": fall,
                    "noticed": len(noticed),
                    "median_labels": float(np.median(noticed)) if noticed else None,
                    "most_labels": max(noticed, default=None),
                }
            )
    return {
        "labels": given.labels,
        "seeds": given.seeds,
        "fall_seeds": given.fall_seeds,
        "delta": given.delta,
        "calm": calm,
        "falls": falls,
    }


def _stream(seed: int, labels: int, accuracy: float) -> npt.NDArray[np.bool_]:
    return np.random.default_rng(seed).random((1, labels)) < accuracy


def as_markdown(results: dict[str, Any]) -> str:
    """Return the results as a page."""
    calm = [
        [f"{line['expected']:.0%}", f"{line['false_alarms']} of {results['seeds']}"]
        for line in results["calm"]
    ]
    falls = [
        [
            f"{line['expected']:.0%}",
            f"{100 * line['fall']:g} points",
            f"{line['noticed']} of {results['fall_seeds']}",
            "" if line["median_labels"] is None else f"{line['median_labels']:,.0f}",
            "" if line["most_labels"] is None else f"{line['most_labels']:,}",
        ]
        for line in results["falls"]
    ]
    lines = [
        "# The alarm on labelled accuracy",
        "",
        f"Simulated labels, right with the promised accuracy, {results['labels']:,} to a stream, δ = "
        f"{results['delta']:g}:",
        "",
        *table(["promised accuracy", "streams with a false alarm"], calm),
        "",
        f"Streams whose accuracy falls after {CALM:,} labels, for {CALM:,} more:",
        "",
        *table(["promised", "fall", "noticed", "labels until then, median", "most"], falls),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the simulation and write its results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="path of the results without its ending")
    parser.add_argument("--labels", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--fall-seeds", type=int, default=20)
    parser.add_argument("--delta", type=float, default=0.0001)
    parser.add_argument("--expected", type=float, nargs="+", default=[0.75, 0.93])
    parser.add_argument("--falls", type=float, nargs="+", default=[0.02, 0.05, 0.1])
    given = parser.parse_args()
    results = measured(given)
    publish(given.out, results, as_markdown(results))
    noticed = all(line["noticed"] == given.fall_seeds for line in results["falls"] if line["fall"] >= 0.1)
    return 0 if noticed and not any(line["false_alarms"] for line in results["calm"]) else 1


if __name__ == "__main__":
    sys.exit(main())
