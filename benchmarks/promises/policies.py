"""Policies on held-out images, at 12 budgets: are budgets kept, and is what a bundle ships at least as good?

    python -m benchmarks.promises.policies BUNDLE --out docs/benchmarks/policies

Fitted on the fitting half of the bundle's calibration, judged on the data set's test images, open loop:

- the mean cost of each budget, against the budget (2% is allowed);
- the shipped measure and policy (and `searched`, whichever is shipped) against `geometric`, on the shipped
  measure and on MSDNet's own, max_probability: gain in accuracy per budget and over all, with a paired
  bootstrap over images (the lower end of the mean gain may not be under -0.3 points).

Writes `OUT.json`, `OUT.md` and `OUT.png` (curves). The exit status is 1 where one of the two does not hold.
"""

import sys
from typing import Any

from benchmarks.reporting import answered, bootstrap, command_line, opened, publish, table
from serving.bundle import Bundle, read_bundle
from serving.bundle.manifest import Named
from serving.bundle.served_policy import DEFAULT_POLICY
from serving.policy.searched import DEFAULT_STIFFNESS
from training.evaluation.candidates import DEFAULT_CANDIDATE, Candidate, outcome, spread_budgets
from training.evaluation.evaluation import Scored
from training.evaluation.plots import Line, gains_over_flops

SEARCHED = Named(name="searched", options={"stiffness": DEFAULT_STIFFNESS})
ALLOWED_ERROR = 0.02
ALLOWED_LOSS = 0.003


def main() -> int:
    """Run the benchmark and write its results."""
    given = command_line(__doc__).parse_args()
    results = measured(read_bundle(given.bundle), given.data)
    lines = [
        Line(candidate["name"], candidate["name"], candidate["gains"]) for candidate in results["candidates"]
    ]
    title = f"gain over {results['base']}: {results['bundle']}, {results['images']:,} test images"
    gains_over_flops(given.out.with_suffix(".png"), title, results["budgets_flops"], lines)
    publish(given.out, results, as_markdown(results))
    return 0 if results["budgets_kept"] and results["non_inferior"] else 1


def measured(bundle: Bundle, dataset: str | None) -> dict[str, Any]:
    """Fit, judge and compare; see the module."""
    calibration, spec, costs = bundle.calibration, bundle.manifest.calibration, bundle.manifest.exit_flops
    data = opened(bundle, dataset)
    answers = answered(bundle, data)
    budgets = spread_budgets(costs)
    shipped = Candidate(spec.confidence, spec.policy)
    same_measure = Candidate(spec.confidence, DEFAULT_POLICY)
    others = (same_measure, Candidate(spec.confidence, SEARCHED), DEFAULT_CANDIDATE)
    candidates = {str(candidate): candidate for candidate in (shipped, *others)}
    found = {}
    for name, candidate in candidates.items():
        score, fit = calibration.score(candidate.measure), calibration.fit
        policy = candidate.fit(Scored(score[fit], calibration.correct[fit]), costs)
        found[name] = outcome(
            policy, Scored.of(*answers, calibration.scorer(candidate.measure)), budgets, costs
        )
    base = found[str(DEFAULT_CANDIDATE)]
    standings = [
        {
            "name": name,
            "accuracy": candidate.accuracy.tolist(),
            "budget_error": (candidate.spent_flops / budgets - 1).tolist(),
            "gains": (candidate.accuracy - base.accuracy).tolist(),
            "mean_gain": float(candidate.per_image.mean() - base.per_image.mean()),
            "interval_95": bootstrap(candidate.per_image - base.per_image),
        }
        for name, candidate in found.items()
    ]
    first = standings[0]
    against_same_measure = bootstrap(found[str(shipped)].per_image - found[str(same_measure)].per_image)
    return {
        "bundle": bundle.name,
        "data_set": data.name,
        "images": base.right.shape[1],
        "fitted_on": int(calibration.fit.sum()),
        "budgets_flops": budgets,
        "shipped": str(shipped),
        "base": str(DEFAULT_CANDIDATE),
        "candidates": standings,
        "budgets_kept": max(abs(error) for error in first["budget_error"]) <= ALLOWED_ERROR,
        "non_inferior": min(first["interval_95"][0], against_same_measure[0]) > -ALLOWED_LOSS,
    }


def as_markdown(results: dict[str, Any]) -> str:
    """Return the results as a page."""
    base = results["base"]
    others = [candidate for candidate in results["candidates"] if candidate["name"] != base]
    ordered = [*others, *(candidate for candidate in results["candidates"] if candidate["name"] == base)]
    head = ["budget MFLOPs"]
    for candidate in ordered:
        head += [f"{candidate['name']}: spent over budget %", "accuracy %"] + ["gain"] * (
            candidate["name"] != base
        )
    rows = []
    for index, budget in enumerate(results["budgets_flops"]):
        row = [f"{budget / 1e6:.2f}"]
        for candidate in ordered:
            row += [
                f"{100 * candidate['budget_error'][index]:+.2f}",
                f"{100 * candidate['accuracy'][index]:.2f}",
            ]
            row += [f"{100 * candidate['gains'][index]:+.2f}"] * (candidate["name"] != base)
        rows.append(row)
    lines = [
        f"# Policies on held-out images: {results['bundle']}",
        "",
        f"{results['images']:,} test images of {results['data_set']}; thresholds fitted on "
        f"{results['fitted_on']:,} calibration images. Shipped: {results['shipped']}. Gains are in points "
        f"over {base}, MSDNet's own procedure.",
        "",
        *table(head, rows),
        "",
    ]
    for candidate in others:
        low, high = candidate["interval_95"]
        lines.append(
            f"- {candidate['name']}: mean gain {100 * candidate['mean_gain']:+.2f} points "
            f"(95% of paired bootstraps: {100 * low:+.2f} to {100 * high:+.2f})."
        )
    lines += [
        f"- Every budget kept by the shipped one within {ALLOWED_ERROR:.0%}: "
        f"{'yes' if results['budgets_kept'] else 'no'}.",
        f"- The shipped policy is no worse than geometric, up to {100 * ALLOWED_LOSS:.1f} points, on either "
        f"measure: {'yes' if results['non_inferior'] else 'no'}.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
