"""The gain of an ensemble of the exits so far (`--ensemble` of `adopt` and `cascade`) on two folds.

    python -m benchmarks.ensembles models/adopted models/cascade --data cifar10 --out OUT

Bundles were made without `--ensemble`, of networks and heads that never saw these test images. The engine
answers all of them once. Then one fold fits weights and thresholds (geometric, on the largest probability)
and the other counts, both ways round, at budgets in shares of the original network's FLOPs. The weights are
applied by `training.adopting.ensembling.Ensemble`, which a test holds against the graph. Writes `OUT.json`
and `OUT.md`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reporting import answered, bootstrap, opened, publish, table
from serving.bundle import Bundle, read_bundle
from training.adopting.ensembling import Ensemble, fit_ensemble
from training.calibration.collect import Labels, Probabilities, scorers_of
from training.evaluation.candidates import DEFAULT_CANDIDATE, outcome
from training.evaluation.evaluation import Scored

PREFACE = """# An ensemble of the exits so far

Accuracy in per cent of test images: one half fits the weights and the thresholds, the other counts, both
ways round. Budgets are shares of the original network's FLOPs. *Early*: all exits but the last combine;
*all*: the last one, too. The gain is the mean over the budgets, in points, with the middle 95% of a paired
bootstrap over the images. FLOPs of combining (some for each class) are left out."""
SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
WAYS = ("alone", "early", "early, without labels", "all")


def combined(way: str, fitted: Probabilities, labels: Labels) -> Ensemble:
    """Fit the weights of one way, to [N, K, C] and [N]."""
    exits = fitted.shape[1]
    if way == "alone":
        return Ensemble((), ())
    truth = fitted[:, -1].argmax(-1) if "without labels" in way else labels
    return fit_ensemble(fitted, truth, exits if way == "all" else exits - 1)


def measured(bundle: Bundle, data: str | None) -> dict[str, Any]:
    """Compare the ways on one bundle."""
    probabilities, labels = answered(bundle, opened(bundle, data))
    manifest = bundle.manifest
    costs, original = manifest.exit_flops, manifest.original_flops or manifest.exit_flops[-1]
    shares = [share for share in SHARES if share * original >= costs[0]]
    folds = np.arange(len(labels)) % 2 == 0
    scorer = scorers_of(np.ones(len(costs)))[DEFAULT_CANDIDATE.measure]
    ways: list[dict[str, Any]] = []
    alone: Any = None
    for way in WAYS:
        right, spent = np.zeros((len(shares), len(labels)), np.bool_), np.zeros(len(shares))
        exits = np.zeros((len(labels), len(costs)), np.bool_)
        for counts in (folds, ~folds):
            ensemble = combined(way, probabilities[~counts], labels[~counts])
            fitted, judged = (
                Scored.of(ensemble(probabilities[part]), labels[part], scorer) for part in (~counts, counts)
            )
            policy = DEFAULT_CANDIDATE.fit(fitted, costs)
            found = outcome(policy, judged, [share * original for share in shares], costs)
            right[:, counts], exits[counts] = found.right, judged.correct
            spent += found.spent_flops / original / 2
        per_image = right.mean(axis=0)
        alone = per_image if way == "alone" else alone
        ways.append(
            {
                "way": way,
                "exit_accuracy": exits.mean(axis=0).tolist(),
                "accuracy": right.mean(axis=1).tolist(),
                "spent": spent.tolist(),
                "gain": float((per_image - alone).mean()),
                "gain_95": bootstrap(per_image - alone),
            }
        )
    return {"bundle": bundle.name, "images": len(labels), "shares": shares, "ways": ways}


def as_markdown(results: Sequence[dict[str, Any]]) -> str:
    """Return the page."""
    lines = [PREFACE]
    for found in results:
        lines += ["", f"## {found['bundle']}, {found['images']:,} images", ""]
        head = ["", *(f"{share:.0%}" for share in found["shares"]), "gain", "each exit"]
        rows = [
            [
                way["way"],
                *(f"{100 * accuracy:.2f}" for accuracy in way["accuracy"]),
                "{:+.2f} ({:+.2f} to {:+.2f})".format(*(100 * end for end in (way["gain"], *way["gain_95"]))),
                " ".join(f"{100 * accuracy:.1f}" for accuracy in way["exit_accuracy"]),
            ]
            for way in found["ways"]
        ]
        lines += table(head, rows)
        spent = " ".join(f"{share:.1%}" for share in found["ways"][0]["spent"])
        lines += ["", f"Spent, each exit alone: {spent}."]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and write its results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--data", help="the data set, where the name in the bundle does not lead there")
    parser.add_argument("--out", type=Path, required=True, help="path of the results without its ending")
    given = parser.parse_args(argv)
    results = [measured(read_bundle(bundle), given.data) for bundle in given.bundles]
    publish(given.out, {"bundles": results}, as_markdown(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
