"""The time to solve for thresholds: a new budget over 50,000 images and 7 exits, and one seen before.

    python -m benchmarks.promises.planning BUNDLE --out docs/benchmarks/planning

The calibration is invented: 50,000 rows of scores at 7 exits that grow surer with depth. *A new budget* is
`PathPolicy.plan`, at budgets that were not asked for before; *the path, once* is what a policy does when it
is loaded. *Seen before* is asked of the bundle named: `plan` is what a budget buys, `terms` all that a
request with that budget is admitted under, its correction by the closed loop included. Medians over the
rounds, by the clock and of the CPU.

Writes `OUT.json` and `OUT.md`. The exit status is 1 where a new budget takes `geometric` 100 ms or more, or
one seen before 20 µs or more.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.reporting import command_line, publish, table
from serving.bundle import Bundle, read_bundle
from serving.interfaces import ScoreArray
from serving.monitoring.controller import BudgetController
from serving.options import ClassifyOptions, ServingConfig
from serving.planner import Planner
from serving.policy.confidence import calibration_score
from serving.policy.plan import PathPolicy, Plan
from serving.policy.registry import POLICIES, fit_policy

ROWS, EXIT_FLOPS = 50_000, (10, 25, 45, 70, 100, 135, 175)
ROUNDS, SEEN = 15, 2_000
NEW_SECONDS, SEEN_SECONDS = 0.1, 20e-6


def invented(seed: int = 0) -> tuple[ScoreArray, Any]:
    """Scores [N, K] and correctness [N, K]; the confidence is the chance of being right."""
    random = np.random.default_rng(seed)
    ease = random.normal(size=(ROWS, 1)) + 0.4 * random.normal(size=(ROWS, len(EXIT_FLOPS)))
    chance = 1 / (1 + np.exp(-(2 * ease + np.linspace(0, 1.5, len(EXIT_FLOPS)))))
    return calibration_score(chance.astype(np.float32)), random.random(chance.shape) < chance


def timed(work: Callable[[int], object], rounds: int, times: int = 1) -> dict[str, float]:
    """Median seconds per call of `work`, which is given the number of the round."""
    spent = []
    for round_number in range(rounds):
        started = time.perf_counter(), time.thread_time()
        for _ in range(times):
            work(round_number)
        spent.append(((time.perf_counter() - started[0]) / times, (time.thread_time() - started[1]) / times))
    clock, cpu = np.median(spent, axis=0)
    return {"seconds": float(clock), "cpu_seconds": float(cpu)}


def _plan(policy: PathPolicy, budgets: npt.NDArray[np.float64], turn: int) -> Plan:
    return policy.plan(float(budgets[turn]))


def measured(bundle: Bundle) -> dict[str, Any]:
    """Time each of the three."""
    score, correct = invented()
    budgets = np.random.default_rng(1).uniform(EXIT_FLOPS[0], EXIT_FLOPS[-1], ROUNDS)
    found = {}
    for name in POLICIES:
        policy = fit_policy(name, score, correct, EXIT_FLOPS)
        found[f"a new budget, {name}"] = timed(partial(_plan, policy, budgets), ROUNDS)
    found["the path, once, geometric"] = timed(
        lambda _: fit_policy("geometric", score, correct, EXIT_FLOPS), 3
    )
    controller = BudgetController(bundle.name, bundle.manifest.exit_flops)
    offers, ask = Planner(bundle, ServingConfig(), controller), ClassifyOptions(budget="50%")
    controller.learn(offers.terms(ask, 0.0).budget_flops, [bundle.manifest.exit_flops[-1]] * 100)
    found["seen before, plan"] = timed(lambda _: offers.plan("50%"), ROUNDS, SEEN)
    found["seen before, terms"] = timed(lambda _: offers.terms(ask, 0.0), ROUNDS, SEEN)
    return {
        "bundle": bundle.name,
        "rows": ROWS,
        "exits": len(EXIT_FLOPS),
        "found": found,
        "kept": found["a new budget, geometric"]["seconds"] < NEW_SECONDS
        and max(found[f"seen before, {what}"]["seconds"] for what in ("plan", "terms")) < SEEN_SECONDS,
    }


def as_markdown(results: dict[str, Any]) -> str:
    """Return the results as a page."""

    def text(seconds: float) -> str:
        return f"{1e3 * seconds:,.1f} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.1f} µs"

    rows = [[name, text(one["seconds"]), text(one["cpu_seconds"])] for name, one in results["found"].items()]
    lines = [
        "# How long thresholds take to solve",
        "",
        f"{results['rows']:,} calibration images, {results['exits']} exits; budgets seen before are those of "
        f"`{results['bundle']}`. Medians.",
        "",
        *table(["", "by the clock", "CPU of the thread"], rows),
        "",
        f"A new budget under {1e3 * NEW_SECONDS:.0f} ms with `geometric`, one seen before under "
        f"{1e6 * SEEN_SECONDS:.0f} µs: {'yes' if results['kept'] else 'no'}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the benchmark and write its results."""
    given = command_line(__doc__).parse_args()
    results = measured(read_bundle(given.bundle))
    publish(given.out, results, as_markdown(results))
    return 0 if results["kept"] else 1


if __name__ == "__main__":
    sys.exit(main())
