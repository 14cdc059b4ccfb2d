"""Exits in public ResNet-56 beside static networks and cascades, with milliseconds, by `offramp advise`.

    python -m benchmarks.adopted_picture --weights cifar10-resnets/ --cifar10 cifar10/ --work WORK

`--weights` is a folder of resnet20-….th, resnet32-….th and resnet56-….th, `--cifar10` one of parquet
shards. Takes about half an hour on two quiet cores, a third of it for bundles,
which a second run finds in WORK. Writes docs/benchmarks/advice.json, advice.md and
docs/images/advice.png.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.public_resnets import command_line, divided, exported
from benchmarks.reporting import table
from training.advising import advice
from training.advising.config import AdviseConfig

OUT, PICTURE = Path("docs/benchmarks/advice"), Path("docs/images/advice.png")
EXITS = "15%,30%,41%,60%,74%"


def as_markdown(found: dict[str, Any]) -> str:
    """Return the page."""
    best = {
        cost: {(point["bundle"], point["budget_flops"]) for point in points}
        for cost, points in found["frontier"].items()
    }
    rows = [
        [
            f"{point['alternative']}, {point['precision']}",
            "" if point["budget_flops"] is None else f"{point['budget_flops'] / 1e6:.1f}",
            f"{point['spent_flops'] / 1e6:.1f}",
            f"{100 * point['accuracy']:.2f}",
            f"{point['mean_ms']:.2f} ({point['p95_ms']:.2f})",
            f"{point['images_per_second']:,.0f}",
            ", ".join(
                cost for cost, keys in best.items() if (point["bundle"], point["budget_flops"]) in keys
            ),
        ]
        for point in found["points"]
    ]
    head = ["alternative", "budget MFLOPs", "spent", "accuracy %", "ms (95%)", "images/s", "best for"]
    return "\n".join(
        [
            "# Exits, cascades and static networks in one picture",
            "",
            "Written by",
            "`python -m benchmarks.adopted_picture --weights FOLDER --cifar10 FOLDER --work FOLDER`.",
            "",
            "Public ResNets for CIFAR-10. Heads learn from the training images, thresholds are fitted on",
            f"half of the test images, and {found['images']:,} of the other half are asked over HTTP.",
            "Milliseconds are of one image, from request to answer.",
            "",
            "![Accuracy over FLOPs and over milliseconds](../images/advice.png)",
            "",
            *table(head, rows),
            "",
            *(f"- {sentence}" for sentence in found["sentences"]),
            "",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Build, serve, ask, and write page and picture."""
    parser = command_line(
        __doc__, weights="folder of resnet20-….th and so on", work="folder of networks, images and bundles"
    )
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 32, 56], help="which ResNets")
    parser.add_argument("--judged", type=int, default=3_000, help="of the other half, how many are asked")
    parser.add_argument("--timed-images", type=int, default=50, help="how many are asked one by one")
    parser.add_argument("--precision", default="int8", choices=["int8", "float32"], help="beside float32")
    given = parser.parse_args(argv)
    parts = divided(given.cifar10, given.work, given.images, given.test_images)
    networks = [
        str(exported(next(given.weights.glob(f"resnet{depth}-*.th")), given.work / f"resnet{depth}.onnx"))
        for depth in given.depths
    ]
    config = AdviseConfig(
        dataset=str(parts["train"]),
        calibrate_on=str(parts["fitted"]),
        test_dataset=str(parts["judged"]),
        normalise=("imagenet",),
        exits=EXITS,
        precision=given.precision,
        test_limit=given.judged,
        timed_images=given.timed_images,
    )
    out = given.work / "advice"
    advice.advise(networks, out, config, Console(), force=True)
    found = json.loads((out / "advice.json").read_text())
    OUT.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    OUT.with_suffix(".md").write_text(as_markdown(found))
    shutil.copyfile(out / "advice.png", PICTURE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
