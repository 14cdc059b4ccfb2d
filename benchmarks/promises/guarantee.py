"""Does the guarantee hold? 200 random splits of real images into certifying and testing ones.

    python -m benchmarks.promises.guarantee BUNDLE --out docs/benchmarks/guarantee

The path of thresholds is the bundle's own, fitted on the fitting half of its calibration. The pool is the
data set's test images, which nothing was fitted on. For each split and each (max_drop, delta), the cheapest
thresholds are certified on one part. It is a violation if the risk, the share of images for which the full
depth is right and the early answer wrong, is over max_drop on the other part. That share is itself of so many
images only, which adds violations that are not the guarantee's; so certifying images are also drawn from the
pool with replacement, and the risk held against max_drop is then that of the whole pool, which is exact.

Writes `OUT.json` and `OUT.md`. The exit status is 1 where violations exceed delta by more than two standard
deviations of their own count.
"""

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.reporting import answered, command_line, opened, publish, table
from serving.bundle import Bundle, read_bundle
from serving.bundle.served_policy import served_policy
from serving.interfaces import ScoreArray
from serving.policy.guarantee import Certifier
from serving.policy.plan import PathPolicy, exits_taken
from training.evaluation.evaluation import Scored

HEAD = [
    "max_drop",
    "δ",
    "violations, splits",
    "violations, draws",
    "allowed (δ + 2 σ)",
    "mean risk",
    "mean cost, of full depth",
]
SPLITS = 200
CERTIFYING_SHARE = 0.25
PROMISES = [(0.01, 0.05), (0.02, 0.05), (0.02, 0.1), (0.05, 0.05), (0.05, 0.1)]


def main() -> int:
    """Run the benchmark and write its results."""
    given = command_line(__doc__).parse_args()
    results = measured(read_bundle(given.bundle), given.data)
    publish(given.out, results, as_markdown(results))
    return 0 if all(promise["holds"] for promise in results["promises"]) else 1


def measured(bundle: Bundle, dataset: str | None) -> dict[str, Any]:
    """Split, certify and count; see the module."""
    scorer = bundle.scorer
    data = opened(bundle, dataset)
    pool = Scored.of(*answered(bundle, data), scorer)
    policy = served_policy(bundle.manifest, bundle.calibration)
    images = len(pool.score)
    certifying = round(CERTIFYING_SHARE * images)
    random = np.random.default_rng(0)
    splits = [random.permutation(images) for _ in range(SPLITS)]
    draws = [random.integers(0, images, certifying) for _ in range(SPLITS)]
    full_flops = bundle.manifest.exit_flops[-1]
    promises = []
    for max_drop, delta in PROMISES:
        split = [
            trial(policy, pool, order[:certifying], order[certifying:], max_drop, delta) for order in splits
        ]
        drawn = [trial(policy, pool, rows, np.arange(images), max_drop, delta) for rows in draws]
        noise = 2 * (delta * (1 - delta) / SPLITS) ** 0.5
        violations, exact = (
            float(np.mean([risk > max_drop for risk, _ in found])) for found in (split, drawn)
        )
        promises.append(
            {
                "max_drop": max_drop,
                "delta": delta,
                "violations": violations,
                "violations_of_draws": exact,
                "allowed": delta + noise,
                "mean_risk": float(np.mean([risk for risk, _ in split])),
                "mean_share_of_full_depth": float(np.mean([flops for _, flops in split])) / full_flops,
                "holds": max(violations, exact) <= delta + noise,
            }
        )
    return {
        "bundle": bundle.name,
        "data_set": data.name,
        "images": images,
        "certifying": certifying,
        "splits": SPLITS,
        "promises": promises,
    }


def trial(
    policy: PathPolicy,
    pool: Scored,
    certifying: npt.NDArray[np.int64],
    testing: npt.NDArray[np.int64],
    max_drop: float,
    delta: float,
) -> tuple[float, float]:
    """Certify on some rows of the pool; return the risk on others, and what the thresholds cost in FLOPs."""
    certifier = Certifier(policy, pool.score[certifying], pool.correct[certifying])
    plan = certifier.plan(max_drop, delta).plan
    return risk(plan.thresholds, pool, testing), plan.expected_flops


def risk(thresholds: ScoreArray, pool: Scored, rows: npt.NDArray[np.int64]) -> float:
    """Return the share of rows for which the full depth is right and the early answer wrong."""
    exits = exits_taken(pool.score[rows], thresholds)
    return float((pool.correct[rows, -1] & ~pool.correct[rows, exits]).mean())


def as_markdown(results: dict[str, Any]) -> str:
    """Return the results as a page."""
    broken = [promise for promise in results["promises"] if not promise["holds"]]
    rows = [
        [
            f"{promise['max_drop']:g}",
            f"{promise['delta']:g}",
            f"{promise['violations']:.3f}",
            f"{promise['violations_of_draws']:.3f}",
            f"{promise['allowed']:.3f}",
            f"{promise['mean_risk']:.4f}",
            f"{promise['mean_share_of_full_depth']:.1%}",
        ]
        for promise in results["promises"]
    ]
    lines = [
        f"# The guarantee: {results['bundle']}",
        "",
        f"{results['splits']} random splits of {results['images']:,} test images of {results['data_set']} "
        f"into {results['certifying']:,} certifying ones and the rest; and as many draws with replacement, "
        "judged on the whole pool.",
        "",
        *table(HEAD, rows),
        "",
        "Promises not kept: "
        + (", ".join(f"max_drop {line['max_drop']:g} at δ {line['delta']:g}" for line in broken) or "none")
        + ".",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
