"""earlyon (PyPI) and `offramp adopt` on the same ResNet-20, the same exits, the same images.

    python -m benchmarks.earlyon --weights resnet20-12fca82f.th --cifar10 cifar10/ --work WORK

`--cifar10` is a folder of CIFAR-10's parquet shards. Exits stand after `layer1` and `layer2`. Both learn
from the training images; half of the test images fit thresholds, the other half counts. Offramp runs first,
and earlyon then trains for whole epochs until it has had as long. earlyon gets an environment of its own in
`--work`. Writes docs/benchmarks/earlyon.json and earlyon.md.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.earlyon.network import EXITS
from benchmarks.public_resnets import command_line, divided, exported
from benchmarks.reporting import publish, table
from benchmarks.speed.environments import environment
from training.adopting import adoption, report
from training.adopting.config import AdoptConfig
from training.evaluation.evaluation import Scored

PACKAGES = ("earlyon==0.3.0", f"torch=={torch.__version__.partition('+')[0]}")
OUT = Path("docs/benchmarks/earlyon")
BUDGETS = (0.5, 0.6, 0.7, 0.8)
DROPS = (0.005, 0.01, 0.02)
_SHARES = "36%,68%"  # the FLOPs up to layer1 and layer2
_MOST_EPOCHS, _PATIENCE_SECONDS = 100, 3600


def offramp(weights: Path, data: dict[str, Path], work: Path) -> tuple[dict[str, Any], Any]:
    """Adopt the network and judge it; return the figures, and a function that judges a share of the FLOPs."""
    file = exported(weights, work / "resnet20.onnx")
    config = AdoptConfig(
        dataset=str(data["train"]),
        calibrate_on=str(data["fitted"]),
        test_dataset=str(data["judged"]),
        normalise=("imagenet",),
        exits=_SHARES,
    )
    begun = time.monotonic()
    done = adoption.build(str(file), work / "bundle", config, force=True, tell=print)
    seconds = time.monotonic() - begun
    found = report.judge(done)
    bundle = done.written.bundle
    assert found.answers is not None  # noqa: S101 - test images were given
    scored = Scored.of(*found.answers, bundle.scorer)
    original = bundle.manifest.original_flops or 0

    def at(share: float) -> dict[str, float] | None:
        points = report.points_at(bundle, scored, [share * original])
        if not points:
            return None
        return {"share": points[0].spent_flops / original, "accuracy": points[0].accuracy}

    facts = {
        "seconds": seconds,
        "exits": [flops / original for flops in bundle.manifest.exit_flops],
        "exit_accuracy": list(found.accuracy),
        "changed": done.last.changed,
        "budgets": {str(share): at(share) for share in BUDGETS},
    }
    return facts, at


def as_markdown(results: dict[str, Any]) -> str:
    """Return the page."""
    ours, theirs = results["offramp"], results["earlyon"]

    def percent(values: Sequence[float]) -> str:
        return " ".join(f"{100 * value:.1f}" for value in values)

    rows = [
        [
            f"at most {100 * point['value']:g} points lost"
            if point["asked"] == "drop"
            else f"{point['value']:.0%}" + ("" if point["met"] else " (said to be out of reach)"),
            f"{100 * point['accuracy']:.2f} for {point['share']:.1%}",
            f"{100 * point['offramp']['accuracy']:.2f} for {point['offramp']['share']:.1%}"
            if point["offramp"]
            else "cheaper than the first exit",
        ]
        for point in theirs["points"]
    ]
    budgets = ", ".join(
        f"{float(share):.0%}: {100 * point['accuracy']:.2f}"
        for share, point in ours["budgets"].items()
        if point
    )
    return (
        "\n".join(
            [
                "# earlyon beside `offramp adopt`",
                "",
                f"Public ResNet-20 for CIFAR-10, exits after {' and '.join(EXITS)}, {results['images']:,} "
                f"training images; {results['fitted']:,} test images fit thresholds and "
                f"{results['judged']:,} others count.",
                "",
                f"- Offramp: {ours['seconds']:.0f} s; exits at {percent(ours['exits'])}% of the FLOPs, heads "
                f"included, right {percent(ours['exit_accuracy'])}%; {ours['changed']} answers of the last "
                f"exit changed. Accuracy by budget: {budgets}.",
                f"- earlyon {theirs['version']}: {theirs['seconds']:.0f} s, {theirs['epochs']} epochs of its "
                f"heads; exits right {percent(theirs['exit_accuracy'])}%.",
                "",
                "Each row is one setting of earlyon, and Offramp with a budget of what earlyon spent. "
                "earlyon's estimate leaves its heads out; Offramp's counts them.",
                "",
                *table(["asked of earlyon", "earlyon, accuracy %", "Offramp, accuracy %"], rows),
            ]
        )
        + "\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run both and write the page."""
    parser = command_line(
        __doc__, weights="resnet20-12fca82f.th", work="folder of the environment and the images"
    )
    parser.add_argument("--threads", type=int, default=2, help="of earlyon's training")
    parser.add_argument("--out", type=Path, default=OUT, help="path of the results without its ending")
    given = parser.parse_args(argv)
    python = environment(given.work / "env", PACKAGES)
    data = divided(given.cifar10, given.work, given.images, given.test_images)
    ours, at = offramp(given.weights, data, given.work)
    request = {name: str(folder / "images.npz") for name, folder in data.items()} | {
        "weights": str(given.weights.absolute()),
        "seconds": ours["seconds"],
        "most_epochs": _MOST_EPOCHS,
        "threads": given.threads,
        "drops": DROPS,
        "budgets": BUDGETS,
    }
    asked, answer = given.work / "request.json", given.work / "answer.json"
    asked.write_text(json.dumps(request))
    worker = [str(python.absolute()), "-m", "benchmarks.earlyon.worker"]
    subprocess.run([*worker, asked, answer], check=True, timeout=_PATIENCE_SECONDS)
    theirs = json.loads(answer.read_text())
    for point in theirs["points"]:
        point["offramp"] = at(point["share"])
    results = {
        "images": given.images,
        "fitted": given.test_images - given.test_images // 2,
        "judged": given.test_images // 2,
        "offramp": ours,
        "earlyon": theirs,
    }
    publish(given.out, results, as_markdown(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
