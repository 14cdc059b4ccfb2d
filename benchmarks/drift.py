"""What drift does to budgets, with the loop open and closed, and when the alarm is raised.

    python benchmarks/drift.py tables exported_models/cifar10 --data cifar10 --out drift_tables.npz
    python benchmarks/drift.py simulate drift_tables.npz --out docs/benchmarks/drift.json

`tables` runs real test images through a bundle's engine, plain and changed: Gaussian noise, Gaussian blur
and loss of contrast, each at three severities; classes that become rare need no run. `simulate` then draws
streams from the tables: some thousand plain images, then changed ones. Thresholds are looked up before each
batch of eight and the controller hears of the costs after it. Reported are, over the seeds: the open loop's
error on the changed images; with the loop closed, the error of the thresholds in force on the whole changed
pool 2,000 images after the change, and of the realised mean over 10,000; and the share of streams whose
alarm was raised. A stream without a change, of 100,000 images, counts alarms that should not be there.
"""

import argparse
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageFilter

from serving.bundle import read_bundle
from serving.confidence import ScoreArray, calibration_score
from serving.controller import BudgetController
from serving.drift import DriftMonitor
from serving.engine import Engine
from serving.events import DriftMeasured, Event
from serving.policies import fit_policy
from serving.preprocess import Preprocessing
from serving.thresholds import PathPolicy, exits_taken

BATCH = 8
BEFORE, SOON, LONG, QUIET = 4_000, 2_000, 10_000, 100_000
SEVERITIES = (1, 2, 3)
NOISE_SIGMA, BLUR_RADIUS, CONTRAST = (8, 16, 32), (0.5, 0.8, 1.2), (0.75, 0.5, 0.3)
SKEW = (0.8, 0.6, 0.4)  # how much rarer each class is than the one before

Pixels = npt.NDArray[np.uint8]
Tables = dict[str, ScoreArray]


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


def make_tables(folder: Path, images: Pixels, labels: npt.NDArray[np.int64], threads: int) -> dict[str, Any]:
    """Scores [N, K] of plain and changed images, and the bundle's calibration beside them."""
    bundle = read_bundle(folder)
    engine, scorer, fit = Engine(bundle, threads=threads), bundle.scorer, bundle.calibration.fit

    def scores(pixels: Pixels) -> ScoreArray:
        parts = []
        for start in range(0, len(pixels), 128):
            features: tuple[Any, ...] = (pixels[start : start + 128],)
            columns = []
            for stage in range(engine.stages):
                probabilities, features = engine.run(stage, features)
                columns.append(scorer(stage, probabilities))
            parts.append(np.stack(columns, axis=1))
        return np.concatenate(parts)

    random = np.random.default_rng(0)
    tables: dict[str, Any] = {
        "exit_flops": np.array(bundle.manifest.exit_flops),
        "calibration": bundle.calibration.score(bundle.manifest.calibration.confidence)[fit],
        "correct": bundle.calibration.correct[fit],
        "policy": np.array(bundle.manifest.calibration.policy.name),
        "labels": labels,
        "plain": scores(images),
    }
    for kind in ("noise", "blur", "contrast"):
        for severity in SEVERITIES:
            tables[f"{kind} {severity}"] = scores(change(kind, severity, images, random))
    return tables


def synthetic_tables(rows: int = 5000, exits: int = 5) -> dict[str, Any]:
    """Tables without a net: scores that rise with depth, of images that become less sure of themselves."""
    random = np.random.default_rng(0)
    depth = np.linspace(0.4, 1, exits)

    def scores(harder: float) -> ScoreArray:
        ease = random.beta(2, 1, (rows, 1)) * (1 - harder)
        noise = 0.08 * random.standard_normal((rows, exits))
        confidence = np.clip(1 - (1 - ease) * (1.4 - depth) + noise, 0.05, 1)
        return calibration_score(confidence.astype(np.float32), int(1e6 * harder))

    calibration = scores(0.0)
    tables = {f"harder {severity}": scores(0.08 * severity) for severity in SEVERITIES}
    return {
        "exit_flops": np.linspace(10, 100, exits).astype(np.int64),
        "calibration": calibration,
        "correct": random.random(calibration.shape) < calibration,
        "policy": np.array("geometric"),
        "labels": random.integers(0, 10, rows),
        "plain": scores(0.0),
        **tables,
    }


class Stream:
    """One server, one budget, images drawn from pools."""

    def __init__(
        self, policy: PathPolicy, plan: Any, exit_flops: Any, calibration: ScoreArray, budget: float
    ) -> None:
        self.plan, self.exit_flops, self.budget = plan, exit_flops, budget
        self.controller = BudgetController("m", exit_flops.tolist())
        self.alarms: list[DriftMeasured] = []
        self.monitor = DriftMonitor("m", calibration, emit=self._listen)

    def thresholds(self) -> ScoreArray:
        """In force now, float64 [K]."""
        thresholds: ScoreArray = self.plan(self.controller.effective(self.budget)).thresholds
        return thresholds

    def error(self, pool: ScoreArray) -> float:
        """Of the thresholds in force, on a whole pool."""
        return float(self.exit_flops[exits_taken(pool, self.thresholds())].mean() / self.budget - 1)

    def serve(self, rows: ScoreArray) -> float:
        """Take rows in; the sum of their costs."""
        total = 0.0
        for start in range(0, len(rows), BATCH):
            batch, thresholds = rows[start : start + BATCH], self.thresholds()
            exits = exits_taken(batch, thresholds)
            vector = tuple(thresholds.tolist())
            for exit_index in range(exits.max() + 1):
                there = batch[exits >= exit_index, exit_index]
                self.monitor.observe(exit_index, there, [vector] * len(there))
            costs = self.exit_flops[exits]
            self.controller.learn(self.budget, costs.tolist())
            total += costs.sum()
        return total

    def _listen(self, event: Event) -> None:
        if isinstance(event, DriftMeasured) and event.alarm:
            self.alarms.append(event)


def simulate(tables: dict[str, Any], shares: list[float], seeds: int) -> list[dict[str, Any]]:
    """One line per change, severity and budget."""
    exit_flops = tables["exit_flops"]
    policy = fit_policy(str(tables["policy"]), tables["calibration"], tables["correct"], exit_flops.tolist())
    plan = lru_cache(maxsize=None)(policy.plan)
    pools = {name: tables[name] for name in tables if " " in name}
    plain, lines = tables["plain"], []
    for severity, ratio in zip(SEVERITIES, SKEW, strict=True):
        weights = ratio ** tables["labels"].astype(float)
        chosen = np.random.default_rng(severity).choice(len(plain), LONG, p=weights / weights.sum())
        pools[f"class skew {severity}"] = plain[chosen]
    for share in shares:
        budget = share * float(exit_flops[-1])
        quiet = Stream(policy, plan, exit_flops, tables["calibration"], budget)
        quiet.serve(plain[np.random.default_rng(99).integers(0, len(plain), QUIET)])
        lines.append({"change": "none", "budget": share, "alarms": len(quiet.alarms), "images": QUIET})
        for name, pool in pools.items():
            soon, late, raised = [], [], 0
            for seed in range(seeds):
                random = np.random.default_rng(seed)
                stream = Stream(policy, plan, exit_flops, tables["calibration"], budget)
                opened = stream.error(pool)
                stream.serve(plain[random.integers(0, len(plain), BEFORE)])
                stream.alarms.clear()
                drawn = pool[random.integers(0, len(pool), LONG)]
                spent = stream.serve(drawn[:SOON])
                soon.append(stream.error(pool))
                late.append((spent + stream.serve(drawn[SOON:])) / LONG / budget - 1)
                raised += bool(stream.alarms)
            lines.append(
                {
                    "change": name,
                    "budget": share,
                    "open_loop_error": round(opened, 4),
                    "in_force_mean_error": round(float(np.mean(soon)), 4),
                    "in_force_mean_absolute_error": round(float(np.abs(soon).mean()), 4),
                    "realised_worst_error": round(float(np.abs(late).max()), 4),
                    "alarm_raised": raised / seeds,
                }
            )
            print(json.dumps(lines[-1]), flush=True)
    return lines


def load_images(dataset: str, limit: int, spec: Preprocessing) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """The test images of a data set as a bundle takes them, uint8 [N, H, W, 3], and their labels."""
    from training.data.config import DataConfig  # simulating needs neither torch nor data
    from training.data.opening import open_data

    data = open_data(DataConfig(dataset=dataset), batch_size=256, seed=0, spec=spec)
    batches = list(data.test())
    images = np.concatenate([batch.images.numpy() for batch in batches])
    labels = np.concatenate([batch.labels.numpy() for batch in batches])
    return images[:limit], labels[:limit]


def arguments_of_the_command() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="What drift does to budgets, with the loop open and closed.")
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("tables", help="run real images through a bundle")
    making.add_argument("bundle", type=Path)
    making.add_argument("--data", required=True, help="as training.fit --dataset")
    making.add_argument("--limit", type=int, default=10_000, help="at most so many test images")
    making.add_argument("--threads", type=int, default=1)
    making.add_argument("--out", type=Path, required=True)
    playing = commands.add_parser("simulate", help="draw streams from tables")
    playing.add_argument("tables", type=Path, nargs="?", help="synthetic ones if not given")
    playing.add_argument("--budgets", type=float, nargs="+", default=[0.4, 0.65], help="of the full depth")
    playing.add_argument("--seeds", type=int, default=20)
    playing.add_argument("--out", type=Path)
    return parser.parse_args()


def main() -> None:
    """Make tables, or simulate on them."""
    arguments = arguments_of_the_command()
    if arguments.command == "tables":
        spec = read_bundle(arguments.bundle).manifest.preprocessing
        images, labels = load_images(arguments.data, arguments.limit, spec)
        np.savez_compressed(arguments.out, **make_tables(arguments.bundle, images, labels, arguments.threads))
        return
    tables = dict(np.load(arguments.tables)) if arguments.tables else synthetic_tables()
    lines = simulate(tables, arguments.budgets, arguments.seeds)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(lines, indent=1) + "\n")


if __name__ == "__main__":
    main()
