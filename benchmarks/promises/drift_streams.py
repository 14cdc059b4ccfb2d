"""Streams of images, plain and then changed, through the thresholds, controller and monitor of a server."""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from typing import Any

import numpy as np

from benchmarks.promises.drift_images import Pool
from serving.bundle import Bundle
from serving.bundle.served_policy import served_policy
from serving.events import DriftMeasured, Event
from serving.interfaces import ScoreArray
from serving.monitoring.controller import BudgetController
from serving.monitoring.drift import DriftMonitor
from serving.policy.plan import Plan, exits_taken

BATCH = 32
BEFORE, SOON, LONG, QUIET = 4_000, 2_000, 10_000, 100_000
QUIET_BUDGETS = {"30%": (0.3,), "50%": (0.5,), "70%": (0.7,), "30 to 80%, mixed": (0.3, 0.4, 0.5, 0.65, 0.8)}
ALLOWED_ERROR = 0.02

Planned = Callable[[float], Plan]


class Server:
    """One server's thresholds, controller and drift monitor, under a mixture of budgets, FLOPs per image."""

    def __init__(self, bundle: Bundle, plan: Planned, budgets: tuple[float, ...]) -> None:
        manifest, calibration = bundle.manifest, bundle.calibration
        self.budgets = budgets
        self.flops = np.array(manifest.exit_flops)
        self.plan = plan
        self.controller = BudgetController("m", manifest.exit_flops)
        self.seen = 0
        self.alarms: list[tuple[int, DriftMeasured]] = []
        self.monitor = DriftMonitor(
            "m",
            calibration.score(manifest.calibration.confidence),
            calibration.prediction,
            len(manifest.classes),
            emit=self._listen,
        )

    def thresholds(self, budget: float) -> ScoreArray:
        """In force now, float64 [K]."""
        return self.plan(self.controller.effective(budget)).thresholds

    def error(self, pool: Pool) -> float:
        """Of the thresholds in force, on a whole pool."""
        budget = self.budgets[0]
        return float(self.flops[exits_taken(pool.score, self.thresholds(budget))].mean() / budget - 1)

    def serve(self, rows: Pool, random: np.random.Generator) -> float:
        """Take rows in, each under a budget that is drawn; the sum of their costs."""
        total = 0.0
        for start in range(0, len(rows.score), BATCH):
            batch = rows.rows(np.arange(start, min(start + BATCH, len(rows.score))))
            size = len(batch.score)
            self.seen += size
            asked = random.integers(0, len(self.budgets), size)
            vectors = [tuple(self.thresholds(budget).tolist()) for budget in self.budgets]
            exits = np.zeros(size, np.int64)
            for number, vector in enumerate(vectors):
                exits[asked == number] = exits_taken(batch.score[asked == number], np.array(vector))
            own = [vectors[number] for number in asked.tolist()]
            for exit_index in range(int(exits.max()) + 1):
                there = np.flatnonzero(exits >= exit_index)
                score, answer = batch.score[there, exit_index], batch.answer[there, exit_index]
                self.monitor.observe(exit_index, score, answer, [own[row] for row in there.tolist()])
            for number, budget in enumerate(self.budgets):
                self.controller.learn(budget, self.flops[exits[asked == number]].tolist())
            total += float(self.flops[exits].sum())
        return total

    def _listen(self, event: Event) -> None:
        if isinstance(event, DriftMeasured) and event.alarm:
            self.alarms.append((self.seen, event))


def stream(name: str, share: float, seed: int) -> dict[str, Any]:
    """Serve plain images, then changed ones."""
    bundle, pools, plan = _shared
    budget = share * bundle.manifest.exit_flops[-1]
    random, server = np.random.default_rng(seed), Server(bundle, plan, (budget,))
    plain, pool = pools["plain"], pools[name]
    opened_error = server.error(pool)
    server.serve(plain.rows(random.integers(0, len(plain.score), BEFORE)), random)
    early = len(server.alarms)
    drawn = random.integers(0, len(pool.score), LONG)
    spent = server.serve(pool.rows(drawn[:SOON]), random)
    in_force = server.error(pool)
    spent += server.serve(pool.rows(drawn[SOON:]), random)
    alarms = server.alarms[early:]
    return {
        "open_loop": opened_error,
        "in_force": in_force,
        "realised": spent / LONG / budget - 1,
        "early": early,
        "raised_after": alarms[0][0] - BEFORE if alarms else None,
        "raised_by": f"{alarms[0][1].of}, exit {alarms[0][1].exit_index + 1}" if alarms else None,
    }


def quiet_stream(shares: tuple[float, ...], seed: int) -> int:
    """Serve plain images; return how often the alarm was raised."""
    bundle, pools, plan = _shared
    random, plain = np.random.default_rng(1000 + seed), pools["plain"]
    server = Server(bundle, plan, tuple(share * bundle.manifest.exit_flops[-1] for share in shares))
    server.serve(plain.rows(random.integers(0, len(plain.score), QUIET)), random)
    return len(server.alarms)


def summed_up(name: str, share: float, streams: list[dict[str, Any]]) -> dict[str, Any]:
    """Results of the streams of one change together."""
    in_force, realised = (np.array([found[key] for found in streams]) for key in ("in_force", "realised"))
    after = [found["raised_after"] for found in streams if found["raised_after"] is not None]
    by = [found["raised_by"] for found in streams if found["raised_by"]]
    return {
        "change": name,
        "budget": share,
        "open_loop_error": streams[0]["open_loop"],
        "in_force_mean_error": float(in_force.mean()),
        "in_force_mean_absolute_error": float(np.abs(in_force).mean()),
        "in_force_share_within": float((np.abs(in_force) <= ALLOWED_ERROR).mean()),
        "realised_worst_error": float(np.abs(realised).max()),
        "realised_share_within": float((np.abs(realised) <= ALLOWED_ERROR).mean()),
        "alarm_raised": len(after) / len(streams),
        "images_until_alarm": int(np.median(after)) if after else None,
        "raised_by": max(set(by), key=by.count) if by else None,
        "alarms_before": sum(found["early"] for found in streams),
    }


def measured(
    bundle: Bundle, pools: dict[str, Pool], shares: list[float], seeds: int, quiet_seeds: int
) -> dict[str, Any]:
    """Play every stream, on all cores."""
    names = [name for name in pools if name != "plain"]
    with ProcessPoolExecutor(
        os.cpu_count(), get_context("spawn"), initializer=_share, initargs=(bundle, pools)
    ) as workers:
        quiet = {
            name: [workers.submit(quiet_stream, budgets, seed) for seed in range(quiet_seeds)]
            for name, budgets in QUIET_BUDGETS.items()
        }
        changed = {
            (name, share): [workers.submit(stream, name, share, seed) for seed in range(seeds)]
            for share in shares
            for name in names
        }
        lines = [summed_up(*key, [job.result() for job in jobs]) for key, jobs in changed.items()]
        silence = [
            {"budgets": name, "streams": quiet_seeds, "alarms": sum(job.result() for job in jobs)}
            for name, jobs in quiet.items()
        ]
    return {
        "bundle": bundle.name,
        "images": len(pools["plain"].score),
        "calibration_images": len(bundle.calibration.labels),
        "seeds": seeds,
        "changes": lines,
        "quiet_images": QUIET,
        "quiet": silence,
    }


_shared: tuple[Bundle, dict[str, Pool], Planned]


def _share(bundle: Bundle, pools: dict[str, Pool]) -> None:
    """Give a worker process the data of all streams, and the plans that they have in common."""
    global _shared  # noqa: PLW0603 - how a pool's workers are given what is too large for every task
    plan = served_policy(bundle.manifest, bundle.calibration).plan
    _shared = bundle, pools, lru_cache(maxsize=None)(plan)
