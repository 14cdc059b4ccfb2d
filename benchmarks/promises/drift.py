"""The effect of drift on budgets, with the loop open and closed, and the delay of the alarm.

    python -m benchmarks.promises.drift exported_models/cifar10-msdnet --out docs/benchmarks/drift

The bundle's engine answers the test images as they are and changed: Gaussian noise, Gaussian blur and loss of
contrast, each at three severities; classes that become rare need no run. Streams are drawn from these
answers: some thousand plain images, then changed ones, in batches; thresholds are looked up before a batch,
and the controller gets the costs after it. Reported are, over the seeds: the open loop's error on the
changed images; with the loop closed, the error of the thresholds in force on all changed images 2,000 images
after the change, and of the realised mean over 10,000; how many streams raised the alarm, and after how many
images. Streams of 100,000 images without a change, at several budgets and at a mixture of them, count alarms
that should not be there.

Writes `OUT.json` and `OUT.md`. The exit status is 1 where a promise is not kept: the mean of the errors in
force, or the worst seed's realised error, over 2%; a quiet alarm; or a change that moves the cost by 2% or
more without raising the alarm in at least 9 of 10 streams.
"""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageFilter

from benchmarks.reporting import command_line, opened, publish, table
from serving.bundle import Bundle, read_bundle
from serving.bundle.served_policy import served_policy
from serving.engine.engine import Engine
from serving.events import DriftMeasured, Event
from serving.interfaces import ScoreArray
from serving.monitoring.controller import BudgetController
from serving.monitoring.drift import DriftMonitor
from serving.policy.confidence import Scorer
from serving.policy.plan import exits_taken
from training.calibration.collect import engine_probabilities

BATCH = 32
BEFORE, SOON, LONG, QUIET = 4_000, 2_000, 10_000, 100_000
SEVERITIES = (1, 2, 3)
NOISE_SIGMA, BLUR_RADIUS, CONTRAST = (8, 16, 32), (0.5, 0.8, 1.2), (0.75, 0.5, 0.3)
SKEW = (0.8, 0.6, 0.4)  # how much rarer each class is than the one before
QUIET_BUDGETS = {"30%": (0.3,), "50%": (0.5,), "70%": (0.7,), "30 to 80%, mixed": (0.3, 0.4, 0.5, 0.65, 0.8)}
ALLOWED_ERROR, RAISED = 0.02, 0.9

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Pool:
    """Images as a net answers them: scores, float64 [N, K], and classes, int64 [N, K]."""

    score: ScoreArray
    answer: npt.NDArray[np.int64]

    @classmethod
    def of(cls, probabilities: npt.NDArray[np.float32], scorer: Scorer) -> "Pool":
        """Score probabilities [N, K, C]."""
        exits = range(probabilities.shape[1])
        score = np.stack([scorer(exit_index, probabilities[:, exit_index]) for exit_index in exits], axis=1)
        return cls(score, probabilities.argmax(axis=2))

    def rows(self, which: npt.NDArray[np.int64]) -> "Pool":
        """Return some of the rows."""
        return Pool(self.score[which], self.answer[which])


def change(kind: str, severity: int, images: Pixels, random: np.random.Generator) -> Pixels:
    """Change images uint8 [N, H, W, 3]; severities count from 1."""
    if kind == "noise":
        noisy = images + random.normal(0, NOISE_SIGMA[severity - 1], images.shape)
        return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    if kind == "blur":
        blur = ImageFilter.GaussianBlur(BLUR_RADIUS[severity - 1])
        return np.stack([np.asarray(Image.fromarray(image).filter(blur)) for image in images])
    factor = CONTRAST[severity - 1]
    return np.stack(
        [np.asarray(ImageEnhance.Contrast(Image.fromarray(image)).enhance(factor)) for image in images]
    )


def make_pools(bundle: Bundle, images: Pixels, labels: npt.NDArray[np.int64]) -> dict[str, Pool]:
    """Test images, plain and changed, as the bundle answers them."""
    engine, scorer = Engine(bundle, threads=0), bundle.scorer

    def answers(pixels: Pixels) -> Pool:
        parts = [
            engine_probabilities(engine, pixels[start : start + 128]) for start in range(0, len(pixels), 128)
        ]
        return Pool.of(np.concatenate(parts), scorer)

    random = np.random.default_rng(0)
    pools = {"plain": answers(images)}
    for kind in ("noise", "blur", "contrast"):
        for severity in SEVERITIES:
            pools[f"{kind} {severity}"] = answers(change(kind, severity, images, random))
    return pools | skewed(pools["plain"], labels)


def skewed(plain: Pool, labels: npt.NDArray[np.int64]) -> dict[str, Pool]:
    """Pools in which each class is rarer than the one before."""
    pools = {}
    for severity, ratio in zip(SEVERITIES, SKEW, strict=True):
        weights = ratio ** labels.astype(float)
        chosen = np.random.default_rng(severity).choice(len(labels), len(labels), p=weights / weights.sum())
        pools[f"class skew {severity}"] = plain.rows(chosen)
    return pools


class Server:
    """One server's thresholds, controller and drift monitor, under a mixture of budgets, FLOPs per image."""

    def __init__(self, bundle: Bundle, budgets: tuple[float, ...]) -> None:
        manifest, calibration = bundle.manifest, bundle.calibration
        self.budgets = budgets
        self.flops = np.array(manifest.exit_flops)
        self.plan = _planned(bundle)
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
        thresholds: ScoreArray = self.plan(self.controller.effective(budget)).thresholds
        return thresholds

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
    bundle, pools = _shared
    budget = share * bundle.manifest.exit_flops[-1]
    random, server = np.random.default_rng(seed), Server(bundle, (budget,))
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
    bundle, pools = _shared
    random, plain = np.random.default_rng(1000 + seed), pools["plain"]
    server = Server(bundle, tuple(share * bundle.manifest.exit_flops[-1] for share in shares))
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
        "broken": list(broken(lines, silence)),
    }


def broken(lines: list[dict[str, Any]], silence: list[dict[str, Any]]) -> Iterator[str]:
    """Name every promise that was not kept."""
    for line in lines:
        at = f"{line['change']} at {line['budget']:.0%}"
        if abs(line["in_force_mean_error"]) > ALLOWED_ERROR:
            error = line["in_force_mean_error"]
            yield f"{at}: thresholds in force are {error:+.1%} off after {SOON:,} images"
        if line["realised_worst_error"] > ALLOWED_ERROR:
            yield f"{at}: a stream is {line['realised_worst_error']:.1%} off after {LONG:,} images"
        if abs(line["open_loop_error"]) >= ALLOWED_ERROR and line["alarm_raised"] < RAISED:
            yield f"{at}: the alarm is raised in {line['alarm_raised']:.0%} of the streams only"
        if line["alarms_before"]:
            yield f"{at}: {line['alarms_before']} alarms before the change"
    for line in silence:
        if line["alarms"]:
            yield f"{line['alarms']} alarms without a change, at {line['budgets']}"


def as_markdown(results: dict[str, Any]) -> str:
    """Return the results as a page."""
    changes = [
        [
            line["change"],
            f"{line['budget']:.0%}",
            f"{100 * line['open_loop_error']:+.1f}",
            f"{100 * line['in_force_mean_error']:+.1f}",
            f"{100 * line['in_force_mean_absolute_error']:.1f}",
            f"{line['in_force_share_within']:.0%}",
            f"{100 * line['realised_worst_error']:.1f}",
            f"{line['realised_share_within']:.0%}",
            f"{line['alarm_raised']:.0%}",
            "" if line["images_until_alarm"] is None else f"{line['images_until_alarm']:,}",
            line["raised_by"] or "",
        ]
        for line in results["changes"]
    ]
    head = [
        "change",
        "budget",
        "open loop %",
        "in force %",
        "in force, absolute %",
        "in force within 2%",
        "realised, worst %",
        "realised within 2%",
        "alarm raised",
        "images until then",
        "mostly by",
    ]
    quiet = [[line["budgets"], str(line["streams"]), str(line["alarms"])] for line in results["quiet"]]
    lines = [
        f"# The closed loop under drift: {results['bundle']}",
        "",
        f"Streams drawn from {results['images']:,} test images, {BEFORE:,} plain ones and then {LONG:,} "
        f"changed ones; {results['seeds']} seeds. Errors are of the mean cost against the budget. *In force*"
        ": the expected cost of the thresholds in force on all changed images, "
        f"{SOON:,} images after the change; its mean over the seeds, the mean of its absolute value, and the "
        f"share of seeds within 2%. *Realised*: the mean over {LONG:,} images after the change, of the worst "
        "seed, and the share of seeds within 2%. *Alarm*: the share of seeds that raised it, the median of "
        "the images that took, and the first sign of most; the monitor compares answers with "
        f"{results['calibration_images']:,} calibration images.",
        "",
        *table(head, changes),
        "",
        f"Without a change, in streams of {results['quiet_images']:,} images:",
        "",
        *table(["budgets", "streams", "alarms"], quiet),
        "",
        "Promises not kept: " + ("; ".join(results["broken"]) or "none") + ".",
    ]
    return "\n".join(lines) + "\n"


_shared: tuple[Bundle, dict[str, Pool]]


def _share(bundle: Bundle, pools: dict[str, Pool]) -> None:
    """Give a worker process the data of all streams."""
    global _shared  # noqa: PLW0603 - how a pool's workers are given what is too large for every task
    _shared = bundle, pools


@lru_cache(maxsize=1)
def _planned_policy(folder: str) -> Any:
    bundle, _ = _shared
    return lru_cache(maxsize=None)(served_policy(bundle.manifest, bundle.calibration).plan)


def _planned(bundle: Bundle) -> Any:
    return _planned_policy(str(bundle.folder))


def main() -> int:
    """Run the benchmark and write its results."""
    parser = command_line(__doc__)
    parser.add_argument("--limit", type=int, default=10_000, help="at most so many test images")
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.5], help="of the full depth")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--quiet-seeds", type=int, default=5)
    given = parser.parse_args()
    bundle = read_bundle(given.bundle)
    batches = list(opened(bundle, given.data).test())
    images = np.concatenate([batch.images.cpu().numpy() for batch in batches])[: given.limit]
    labels = np.concatenate([batch.labels.cpu().numpy() for batch in batches])[: given.limit]
    pools = make_pools(bundle, images, labels)
    results = measured(bundle, pools, given.budgets, given.seeds, given.quiet_seeds)
    publish(given.out, results, as_markdown(results))
    return 1 if results["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
