"""The result: cost and accuracy of each exit, accuracy under budgets, and the cost of full depth.

Shares are of the network that the user had: with heads, or smaller networks, on the way, full depth is dearer
than it.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from serving.bundle import Bundle, Manifest
from serving.bundle.served_policy import served_policy
from serving.engine.engine import Engine
from training.adopting import presenting
from training.adopting.drafting import Done
from training.adopting.images import BATCH_SIZE, feed_of
from training.calibration.collect import Labels, Probabilities
from training.data.batches import grouped
from training.evaluation.curves import Point, budgeted_curve
from training.evaluation.evaluation import Scored
from training.evaluation.measure import served

SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
"""The budgets that are shown, as shares of the original's FLOPs."""

_DROPS = (0.0, 0.005, 0.01, 0.02)
_GRID = 200
_TOO_GOOD = 0.995
_ERRORS = 3
_FEW = 50
_ONE_ANSWER = 0.9


@dataclass(frozen=True)
class Judged:
    """A bundle on images that its thresholds were not fitted on.

    Args:
        images: how many.
        source: where they are from.
        accuracy: of each exit, [K].
        points: budgets at `SHARES` of the original that can be kept.
        least: per accuracy given up (0.005 is half a point), the least share of the original's FLOPs that
            gives up no more; None where none does.
    """

    images: int
    source: str
    accuracy: tuple[float, ...]
    points: tuple[Point, ...]
    least: dict[float, float | None]
    answers: tuple[Probabilities, Labels] | None = field(default=None, repr=False, compare=False)
    """Probabilities [N, K, C] and labels [N] of the test images; None where none were given."""


def judge(done: Done) -> Judged:
    """Judge a bundle: on test images, or else on the half of the calibration that certifies."""
    bundle = done.written.bundle
    manifest = bundle.manifest
    if done.test is None:
        half = bundle.calibration.certify
        scored = Scored(
            bundle.calibration.score(manifest.calibration.confidence)[half], bundle.calibration.correct[half]
        )
        return judged(bundle, scored, "held-out images that certify")
    groups = grouped(np.arange(len(done.test), dtype=np.int64), BATCH_SIZE, least=1)
    batches = feed_of(done.test, manifest.preprocessing).batches(groups, None)
    answers = served(Engine(bundle, threads=0), batches)
    found = judged(bundle, Scored.of(*answers, bundle.scorer), f"test images of {done.test.data_set}")
    return replace(found, answers=answers)


def judged(bundle: Bundle, scored: Scored, source: str) -> Judged:
    """Judge a bundle on scored images."""
    manifest = bundle.manifest
    costs, full = manifest.exit_flops, manifest.original_flops or manifest.exit_flops[-1]
    policy = served_policy(manifest, bundle.calibration)
    shown = [share * full for share in SHARES if costs[0] <= share * full <= costs[-1]]
    points = budgeted_curve(policy, shown, scored.score, scored.correct, costs)
    grid = np.linspace(costs[0], costs[-1], _GRID).tolist()
    curve = budgeted_curve(policy, grid, scored.score, scored.correct, costs)
    accuracy = scored.correct.mean(axis=0)
    least = {
        drop: min(
            (point.spent_flops / full for point in curve if point.accuracy >= accuracy[-1] - drop),
            default=None,
        )
        for drop in _DROPS
    }
    return Judged(len(scored.score), source, tuple(accuracy.tolist()), tuple(points), least)


def show(done: Done, found: Judged, console: Console) -> None:
    """Print what came out."""
    bundle = done.written.bundle
    manifest = bundle.manifest
    full = manifest.original_flops or manifest.exit_flops[-1]
    right = (
        "agrees with the full network %" if manifest.truth == "own" and done.test is None else "accuracy %"
    )
    agreement = (bundle.calibration.prediction == bundle.calibration.prediction[:, -1:]).mean(axis=0)
    exits = Table("exit", "MFLOPs", "of the original %", right, "same answer as the last %")
    for number, (flops, share) in enumerate(zip(manifest.exit_flops, found.accuracy, strict=True), start=1):
        exits.add_row(
            str(number),
            f"{flops / 1e6:,.2f}",
            f"{100 * flops / full:.1f}",
            f"{100 * share:.2f}",
            f"{100 * agreement[number - 1]:.2f}",
        )
    exits.title = f"{bundle.name}, {found.images:,} {found.source}"
    console.print(exits)
    budgets = Table(
        "budget, of the original %", "spent %", right, "share of each exit %", title="leaving early"
    )
    for point in found.points:
        budgets.add_row(
            f"{100 * point.budget_flops / full:.0f}",
            f"{100 * point.spent_flops / full:.1f}",
            f"{100 * point.accuracy:.2f}",
            " ".join(f"{100 * share:.0f}" for share in point.shares),
        )
    console.print(budgets)
    for line in sentences(done, found):
        console.print(line, soft_wrap=True, highlight=False)


def sentences(done: Done, found: Judged) -> list[str]:
    """Say in words what matters besides the tables."""
    manifest = done.written.bundle.manifest
    full = manifest.original_flops or manifest.exit_flops[-1]
    last = done.last
    kept = [
        f"within {100 * drop:g} points at {100 * share:.1f}%" if drop else f"as good at {100 * share:.1f}%"
        for drop, share in found.least.items()
        if share is not None and share < 1
    ]
    alone = ", before the ensemble" if ensemble_of(manifest) == len(manifest.segments) else ""
    lines = [
        f"last exit{alone} against the original file: {last.changed} of {last.images:,} answers differ, "
        f"probabilities by {last.largest:.1e} at most (in float32)",
        f"of {done.member.network.name}'s {full / 1e6:,.2f} MFLOPs: "
        + (", ".join(kept) or "nothing is saved"),
        f"full depth costs {100 * manifest.exit_flops[-1] / full:.1f}% of the original: budget=50% of a "
        f"request is half of that",
    ]
    return lines + honesty(done, found)


def ensemble_of(manifest: Manifest) -> int:
    """Return how many of the first exits answer by an ensemble of the exits so far; 0 if each by itself."""
    facts = manifest.method.options.get("ensemble")
    return int(str(facts["exits"])) if isinstance(facts, dict) else 0


def honesty(done: Done, found: Judged) -> list[str]:
    """Warn where the calibration images look like images that the network was trained on."""
    bundle = done.written.bundle
    if bundle.manifest.truth == "own":
        return _domain(bundle)
    calibrated = bundle.calibration.accuracy[-1]
    count = len(bundle.calibration.labels)
    if done.test is not None:
        apart = calibrated - found.accuracy[-1]
        error = np.sqrt(
            sum(p * (1 - p) / n for p, n in ((calibrated, count), (found.accuracy[-1], found.images)))
        )
        if apart > max(0.01, _ERRORS * error):
            return [
                f"warning: the last exit gets {calibrated:.1%} right on the images it is calibrated on and "
                f"{found.accuracy[-1]:.1%} on the test images: the network was trained on the former, and "
                "budgets promise too much; give images it has not seen by --calibrate-on"
            ]
    elif calibrated > _TOO_GOOD:
        return [
            f"warning: the last exit gets {calibrated:.1%} of {count:,} images right: if the network was "
            "trained on them, accuracies and thresholds promise too much; give images it has not seen by "
            "--calibrate-on"
        ]
    return []


def _domain(bundle: Bundle) -> list[str]:
    """Warn where the network gives nearly all images one answer, as it does to images of another domain."""
    answers = bundle.calibration.prediction[:, -1]
    classes, counts = np.unique(answers, return_counts=True)
    share = counts.max() / len(answers)
    if len(answers) < _FEW or share <= _ONE_ANSWER:
        return []
    name = bundle.manifest.classes[int(classes[counts.argmax()])]
    return [
        f"warning: the network answers {name} for {share:.0%} of {len(answers):,} images: are they of what "
        "it was trained on, and normalised as it takes them (--normalise)?"
    ]


def as_json(done: Done, found: Judged) -> dict[str, Any]:
    """Return what came out as plain values."""
    manifest = done.written.bundle.manifest
    return {
        "bundle": done.written.bundle.name,
        "truth": manifest.truth,
        "original_flops": manifest.original_flops,
        "exit_flops": list(manifest.exit_flops),
        "changed_answers": done.last.changed,
        "compared_images": done.last.images,
        "largest_difference": done.last.largest,
        **{key: value for key, value in asdict(found).items() if key not in ("least", "answers")},
        "least": {str(drop): share for drop, share in found.least.items()},
        "sentences": sentences(done, found),
    }


def write(done: Done, file: Path | None, console: Console) -> None:
    """Judge a bundle, print the tables, and write the figures as JSON where a file is named."""
    found = judge(done)
    show(done, found, console)
    for path in presenting.present(done, found.answers):
        console.print(f"wrote {path}", soft_wrap=True, highlight=False)
    if file is not None:
        file.write_text(json.dumps(as_json(done, found), indent=1) + "\n")
