"""Measure a bundle's accuracy again, over HTTP, on every test image, and hold it against its model card.

    python -m benchmarks.over_http exported_models/cifar10-resnet9-int8 --data cifar10

A real server serves the bundle cut after each exit, so that every image is answered at that exit, and the
whole bundle for some of the budgets on its card. The answers must be as often right as `evaluation.json`
beside the card says; with the loop open the thresholds are the same, too. Exit status 1 where they are not.
"""

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt

from serving.bundle import read_bundle
from training.demo.server import running_server
from training.evaluation.config import EvaluateConfig
from training.evaluation.measure import data_of
from training.exporting.truncate import shortened

PIECE = 250
"""Images in one request."""


def classify(
    client: httpx.Client, images: npt.NDArray[np.uint8], query: dict[str, str]
) -> npt.NDArray[np.int64]:
    """Send images uint8 [N, H, W, 3] in pieces; return the class answered for each, int64 [N]."""
    answers: list[int] = []
    for start in range(0, len(images), PIECE):
        body = io.BytesIO()
        np.save(body, images[start : start + PIECE])
        headers = {"content-type": "application/x-npy"}
        response = client.post("/classify", params=query, content=body.getvalue(), headers=headers)
        response.raise_for_status()
        answers += [result["class_index"] for result in response.json()["results"]]
    return np.array(answers)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve, ask, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", help="the data set, where the name in the manifest does not lead there")
    arguments = parser.parse_args(argv)
    bundle = read_bundle(arguments.bundle)
    card = json.loads((bundle.folder / "evaluation.json").read_text())
    batches = list(data_of(bundle, EvaluateConfig(dataset=arguments.data)).test())
    images = np.concatenate([batch.images.numpy() for batch in batches])
    labels = np.concatenate([batch.labels.numpy() for batch in batches])
    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        models = Path(scratch) / "models"
        for number in range(1, len(bundle.manifest.segments)):
            shortened(bundle, number, models / f"exit-{number}")
        shortened(bundle, len(bundle.manifest.segments), models / "whole")
        flags = ("--controller", "off", "--sample-share", "0", "--default-model", "whole")
        with (
            running_server(models, Path(scratch) / "server.log", *flags) as address,
            httpx.Client(base_url=address, timeout=120) as client,
        ):
            asked = [
                (f"exit {row['exit']}", {"model": f"exit-{row['exit']}", "budget": "100%"}, row["accuracy"])
                for row in card["exits"][:-1]
            ] + [
                (
                    f"budget {point['budget_flops'] / 1e6:.2f} MFLOPs",
                    {"model": "whole", "budget": repr(point["budget_flops"])},
                    point["accuracy"],
                )
                for point in card["curve"][:: max(1, len(card["curve"]) // 8)] + card["curve"][-1:]
            ]
            for name, query, expected in asked:
                found = float((classify(client, images, query) == labels).mean())
                same = abs(found - expected) < 0.5 / len(images)
                wrong += not same
                print(f"{name}: {100 * found:.2f}% over HTTP, {100 * expected:.2f}% on the card", end="")
                print("" if same else "  <- DIFFERS", flush=True)
    print(f"{len(images):,} images, {len(asked)} comparisons, {wrong} differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
