"""Accuracy of a hard budget, against thresholds that spend exactly as much.

    python -m benchmarks.promises.hard_budget BUNDLE --out docs/benchmarks/hard_budget

The bundle's engine answers the test images; policy and path are fitted as the bundle is served. In
groups of a few sizes and at a ladder of budgets, every group keeps to its sum; then the same images go
through the open loop's thresholds, at the budget whose cost on them is the nearest to what the groups really
spent and not under it. The difference in accuracy is bootstrapped in pairs, a group at a time.

A sum for every group costs something whatever the rule: a group of hard images gets no more than one of easy
ones. The best thresholds for each group that keep its sum, found in hindsight from all scores, show how much;
they are compared with the open loop at their own cost.

Writes `OUT.json` and `OUT.md`. The exit status is 1 where a sum is exceeded, or where, over all budgets of a
group size, the lower bootstrap bound of the mean gain at equal cost is under -0.3 points and that of what it
has over hindsight's is, too.
"""

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.reporting import answered, bootstrap, command_line, opened, publish, table
from serving.bundle import Bundle, read_bundle
from serving.bundle.served_policy import served_policy
from serving.interfaces import ScoreArray
from serving.policy.group_path import GroupPath
from serving.policy.plan import PathPolicy, exits_taken
from training.evaluation.evaluation import Scored

ALLOWED_LOSS = 0.003
HINDSIGHT_STEPS = 400
_BISECTIONS = 40

IntArray = npt.NDArray[np.int64]


def group_exits(path: GroupPath, score: ScoreArray, flops: IntArray, budget_flops: float) -> IntArray:
    """The exits of the M images of one request, int64 [M], as `HardBudgetRule` decides them."""
    exits = np.zeros(len(score), np.int64)
    there = np.arange(len(score))
    for exit_index in range(len(flops) - 1):
        left = len(score) * budget_flops - flops[exits].sum()
        there = there[path.choose(exit_index, score[there, exit_index], float(left))]
        exits[there] = exit_index + 1
    return exits


def equal_cost_exits(policy: PathPolicy, score: ScoreArray, flops: IntArray, mean_flops: float) -> IntArray:
    """The open loop's exits at the least budget at which these images cost at least `mean_flops`."""
    low, high = float(flops[0]), float(flops[-1])
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        cost = flops[exits_taken(score, policy.plan(middle).thresholds)].mean()
        low, high = (middle, high) if cost < mean_flops else (low, middle)
    return exits_taken(score, policy.plan(high).thresholds)


def path_exits(policy: PathPolicy, score: ScoreArray, flops: IntArray) -> npt.NDArray[np.int8]:
    """The exits of all images at many points of the policy's path, from cheap to dear, int8 [P, N]."""
    budgets = np.linspace(float(flops[0]), float(flops[-1]), HINDSIGHT_STEPS)
    return np.stack([exits_taken(score, policy.plan(float(b)).thresholds).astype(np.int8) for b in budgets])


def hindsight_exits(
    along_path: npt.NDArray[np.int8], flops: IntArray, group: int, budget_flops: float
) -> IntArray:
    """For each group the furthest point of the path whose cost it can pay: int64 [N]."""
    costs = flops[along_path].reshape(len(along_path), -1, group).sum(axis=2)  # [P, groups], rising
    furthest = (costs <= group * budget_flops).sum(axis=0) - 1
    images = np.arange(along_path.shape[1])
    taken: IntArray = along_path[furthest[images // group], images].astype(np.int64)
    return taken


def measured(
    bundle: Bundle, data: str | None, limit: int, groups: list[int], shares: list[float]
) -> dict[str, Any]:
    """Serve every group at every budget, and the open loop beside it."""
    calibration, manifest = bundle.calibration, bundle.manifest
    opened_data = opened(bundle, data)
    pool = Scored.of(*answered(bundle, opened_data), bundle.scorer)
    fit = calibration.fit
    score = calibration.score(manifest.calibration.confidence)[fit]
    flops = np.array(manifest.exit_flops)
    policy = served_policy(manifest, calibration)
    path = GroupPath(policy.table, score, manifest.exit_flops)
    order = np.random.default_rng(0).permutation(len(pool.score))[:limit]
    payable = [share for share in shares if share * flops[-1] > flops[0]]
    lines: list[dict[str, Any]] = []
    totals: list[dict[str, Any]] = []
    for group in groups:
        rows = order[: len(order) // group * group]
        held, right, index = pool.score[rows], pool.correct[rows].astype(float), np.arange(len(rows))
        on_path = path_exits(policy, held, flops)
        differences, inherent = [], []
        for share in payable:
            budget_flops = share * float(flops[-1])
            parts = [
                group_exits(path, held[start : start + group], flops, budget_flops)
                for start in range(0, len(rows), group)
            ]
            exits = np.concatenate(parts)
            rivals = equal_cost_exits(policy, held, flops, float(flops[exits].mean()))
            best = hindsight_exits(on_path, flops, group, budget_flops)
            best_rivals = equal_cost_exits(policy, held, flops, float(flops[best].mean()))
            differences.append(right[index, exits] - right[index, rivals])
            inherent.append(right[index, best] - right[index, best_rivals])
            lines.append(
                {
                    "group": group,
                    "budget": share,
                    "images": len(rows),
                    "accuracy": float(right[index, exits].mean()),
                    "spent": float(flops[exits].mean() / budget_flops),
                    "worst_group": max(float(flops[part].sum()) / (group * budget_flops) for part in parts),
                    "gain": float(differences[-1].mean()),
                    "gain_95": bootstrap(differences[-1], groups=group),
                    "hindsight_gain": float(inherent[-1].mean()),
                    "accuracy_of_the_budget": float(
                        right[index, exits_taken(held, policy.plan(budget_flops).thresholds)].mean()
                    ),
                }
            )
        totals.append(
            {
                "group": group,
                "mean_gain": float(np.mean(differences)),
                "mean_gain_95": bootstrap(np.mean(differences, axis=0), groups=group),
                "hindsight_mean_gain": float(np.mean(inherent)),
                "over_hindsight": float(np.mean(differences) - np.mean(inherent)),
                "over_hindsight_95": bootstrap(
                    np.mean(differences, axis=0) - np.mean(inherent, axis=0), groups=group
                ),
            }
        )
    return {
        "bundle": bundle.name,
        "data_set": opened_data.name,
        "images": len(order),
        "lines": lines,
        "groups": totals,
        "sums_kept": all(line["worst_group"] <= 1 for line in lines),
        "non_inferior": all(
            max(total["mean_gain_95"][0], total["over_hindsight_95"][0]) > -ALLOWED_LOSS for total in totals
        ),
    }


def points(gain: float) -> str:
    """Write a share as percentage points."""
    return f"{100 * gain:+.2f}"


def as_markdown(results: dict[str, Any]) -> str:
    """Return the results as a page."""
    rows = [
        [
            str(line["group"]),
            f"{line['budget']:.0%}",
            f"{100 * line['accuracy']:.2f}",
            f"{100 * line['accuracy_of_the_budget']:.2f}",
            f"{line['spent']:.1%}",
            f"{line['worst_group']:.1%}",
            f"{points(line['gain'])} ({points(line['gain_95'][0])} to {points(line['gain_95'][1])})",
            points(line["hindsight_gain"]),
        ]
        for line in results["lines"]
    ]
    totals = [
        [
            str(total["group"]),
            f"{points(total['mean_gain'])} "
            f"({points(total['mean_gain_95'][0])} to {points(total['mean_gain_95'][1])})",
            points(total["hindsight_mean_gain"]),
            f"{points(total['over_hindsight'])} "
            f"({points(total['over_hindsight_95'][0])} to {points(total['over_hindsight_95'][1])})",
        ]
        for total in results["groups"]
    ]
    head = [
        "group",
        "budget",
        "accuracy %",
        "open loop at the budget %",
        "spent",
        "dearest group",
        "gain at equal cost (95%)",
        "hindsight's",
    ]
    lines = [
        f"# Hard budgets: {results['bundle']}",
        "",
        f"{results['images']:,} test images of {results['data_set']} in groups, each of which keeps to its "
        "number times the budget. *Gain*: accuracy over the open loop's thresholds at the cost that groups "
        "really had, in points, by paired bootstrap over groups. *Hindsight's*: the same of the best "
        "thresholds for each group that keep its sum, found once all its scores are known.",
        "",
        *table(head, rows),
        "",
        "Over all budgets:",
        "",
        *table(["group", "mean gain at equal cost (95%)", "hindsight's", "over hindsight (95%)"], totals),
        "",
        f"- Every sum kept: {'yes' if results['sums_kept'] else 'no'}.",
        f"- No worse by more than {100 * ALLOWED_LOSS:.1f} points than the open loop, or than hindsight: "
        f"{'yes' if results['non_inferior'] else 'no'}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the benchmark and write its results."""
    parser = command_line(__doc__)
    parser.add_argument("--limit", type=int, default=10_000, help="at most so many test images")
    parser.add_argument("--groups", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.25, 0.4, 0.55, 0.7, 0.85])
    given = parser.parse_args()
    bundle = read_bundle(given.bundle)
    results = measured(bundle, given.data, given.limit, given.groups, given.budgets)
    publish(given.out, results, as_markdown(results))
    return 0 if results["sums_kept"] and results["non_inferior"] else 1


if __name__ == "__main__":
    sys.exit(main())
