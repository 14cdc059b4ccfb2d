"""What a hard budget costs or gains in accuracy, against thresholds that spend exactly as much.

    python benchmarks/hard_budget.py exported_models/cifar10 --out docs/benchmarks/hard_budget.json

On the bundle's own calibration: the half for fitting makes the policy and the table of gains, the half for
certifying, which neither has seen, is served. In groups of a few sizes and at a ladder of budgets, every
group keeps to its sum; then the same images go through the open loop's thresholds, at the budget whose cost
on them is the nearest to what the groups really spent and not under it. The difference in accuracy is
bootstrapped over images, in pairs.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.bundle import read_bundle
from serving.confidence import ScoreArray
from serving.group_budget import GainTable
from serving.policies import fit_policy
from serving.thresholds import PathPolicy, exits_taken

RESAMPLES = 2000
_BISECTIONS = 40

IntArray = npt.NDArray[np.int64]


def group_exits(table: GainTable, score: ScoreArray, flops: IntArray, budget_flops: float) -> IntArray:
    """The exits of the M images of one request, int64 [M], as `GroupDecider` decides them."""
    exits = np.zeros(len(score), np.int64)
    there = np.arange(len(score))
    for exit_index in range(len(flops) - 1):
        left = len(score) * budget_flops - flops[exits].sum()
        step = float(flops[exit_index + 1] - flops[exit_index])
        there = there[table.choose(exit_index, score[there, exit_index], float(left), step)]
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


def compare(bundle_folder: Path, groups: list[int], shares: list[float]) -> list[dict[str, Any]]:
    """One line per group size and budget."""
    bundle = read_bundle(bundle_folder)
    calibration, manifest = bundle.calibration, bundle.manifest
    score, fit = calibration.score(manifest.calibration.confidence), calibration.fit
    held, correct = score[~fit], calibration.correct[~fit]
    flops = np.array(manifest.exit_flops)
    table = GainTable(score[fit], calibration.correct[fit], manifest.exit_flops)
    name = manifest.calibration.policy.name
    policy = fit_policy(name, score[fit], calibration.correct[fit], manifest.exit_flops)
    random, lines = np.random.default_rng(0), []
    for group in groups:
        images = len(held) // group * group
        order, index = random.permutation(len(held))[:images], np.arange(images)
        rows, right = held[order], correct[order]
        for share in shares:
            budget_flops = share * float(flops[-1])
            starts = range(0, images, group)
            parts = [group_exits(table, rows[s : s + group], flops, budget_flops) for s in starts]
            exits = np.concatenate(parts)
            worst = max(flops[part].sum() / (group * budget_flops) for part in parts)
            rivals = equal_cost_exits(policy, rows, flops, float(flops[exits].mean()))
            gain = right[index, exits].astype(float) - right[index, rivals]
            means = [gain[random.integers(0, images, images)].mean() for _ in range(RESAMPLES)]
            low, high = np.quantile(means, [0.025, 0.975])
            lines.append(
                {
                    "group": group,
                    "budget": share,
                    "images": images,
                    "accuracy": round(float(right[index, exits].mean()), 4),
                    "gain_points": round(100 * float(gain.mean()), 2),
                    "gain_95_percent": [round(100 * float(low), 2), round(100 * float(high), 2)],
                    "spent": round(float(flops[exits].mean() / budget_flops), 4),
                    "worst_group": round(float(worst), 4),
                    "open_loop_cost": round(float(flops[rivals].mean() / flops[exits].mean()), 4),
                }
            )
            print(json.dumps(lines[-1]), flush=True)
    return lines


def main() -> None:
    """Compare, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--groups", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.25, 0.4, 0.55, 0.7, 0.85])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    lines = compare(arguments.bundle, arguments.groups, arguments.budgets)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(lines, indent=1) + "\n")


if __name__ == "__main__":
    main()
