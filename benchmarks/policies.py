"""Policies on held-out images, at 12 budgets: are budgets kept, and is what a bundle ships at least as good?

    python -m benchmarks.policies exported_models/cifar10-msdnet --out docs/benchmarks/policies

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
from training.evaluation.candidates import DEFAULT_RIVAL, Rival, outcome, spread_budgets
from training.evaluation.evaluation import Scored
from training.evaluation.plots import Line, gains_over_flops

SEARCHED = Named(name="searched", options={"stiffness": DEFAULT_STIFFNESS})
ALLOWED_ERROR = 0.02
ALLOWED_LOSS = 0.003


def main() -> int:
    """Run the benchmark and write its results."""
    given = command_line(__doc__).parse_args()
    results = measured(read_bundle(given.bundle), given.data)
    lines = [Line(rival["name"], rival["name"], rival["gains"]) for rival in results["rivals"]]
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
    shipped = Rival(spec.confidence, spec.policy)
    same_measure = Rival(spec.confidence, DEFAULT_POLICY)
    others = (same_measure, Rival(spec.confidence, SEARCHED), DEFAULT_RIVAL)
    rivals = {str(rival): rival for rival in (shipped, *others)}
    found = {}
    for name, rival in rivals.items():
        score, fit = calibration.score(rival.measure), calibration.fit
        policy = rival.fit(Scored(score[fit], calibration.correct[fit]), costs)
        found[name] = outcome(policy, Scored.of(*answers, calibration.scorer(rival.measure)), budgets, costs)
    base = found[str(DEFAULT_RIVAL)]
    standings = [
        {
            "name": name,
            "accuracy": rival.accuracy.tolist(),
            "budget_error": (rival.spent_flops / budgets - 1).tolist(),
            "gains": (rival.accuracy - base.accuracy).tolist(),
            "mean_gain": float(rival.per_image.mean() - base.per_image.mean()),
            "interval_95": bootstrap(rival.per_image - base.per_image),
        }
        for name, rival in found.items()
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
        "base": str(DEFAULT_RIVAL),
        "rivals": standings,
        "budgets_kept": max(abs(error) for error in first["budget_error"]) <= ALLOWED_ERROR,
        "non_inferior": min(first["interval_95"][0], against_same_measure[0]) > -ALLOWED_LOSS,
    }


def as_markdown(results: dict[str, Any]) -> str:
    """Return the results as a page."""
    base = results["base"]
    others = [rival for rival in results["rivals"] if rival["name"] != base]
    ordered = [*others, *(rival for rival in results["rivals"] if rival["name"] == base)]
    head = ["budget MFLOPs"]
    for rival in ordered:
        head += [f"{rival['name']}: spent over budget %", "accuracy %"] + ["gain"] * (rival["name"] != base)
    rows = []
    for index, budget in enumerate(results["budgets_flops"]):
        row = [f"{budget / 1e6:.2f}"]
        for rival in ordered:
            row += [f"{100 * rival['budget_error'][index]:+.2f}", f"{100 * rival['accuracy'][index]:.2f}"]
            row += [f"{100 * rival['gains'][index]:+.2f}"] * (rival["name"] != base)
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
    for rival in others:
        low, high = rival["interval_95"]
        lines.append(
            f"- {rival['name']}: mean gain {100 * rival['mean_gain']:+.2f} points "
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
