"""Features on the device against features on the host: images per second of one model, on whatever it runs.

    python -m benchmarks.engine.device_features
    python -m benchmarks.engine.device_features --host models/a --device models/b --budget 150MFLOPs

Without bundles it makes two of the poster's size (`poster_bundle`), the same net cut for each. In one
process, without HTTP, in alternating rounds. It prints the providers that were got. Without a
GPU it measures what the same code costs on the CPU, where the host's memory is the device's.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.methods import poster_bundle
from serving.engine.providers import DeviceFeatures
from serving.model import Answer, Model, ServingConfig


def load(folder: Path, device_features: DeviceFeatures, given: argparse.Namespace) -> Model:
    """Load a bundle with an open loop, so that every round does the same."""
    return Model.load(
        folder,
        threads=given.threads,
        providers=tuple(given.providers.split(",")) if given.providers else None,
        device_features=device_features,
        max_batch=given.max_batch,
        rules=ServingConfig(controller=False, sample_share=0.0),
    )


def measure(models: dict[str, Model], given: argparse.Namespace) -> dict[str, list[float]]:
    """Images per second of each in each round; the first round is not counted."""
    images = poster_bundle.pool(given.images)
    rates: dict[str, list[float]] = {name: [] for name in models}
    answers: dict[str, list[Answer]] = {}
    for turn in range(given.rounds + 1):
        for name, model in models.items():
            started = time.perf_counter()
            answers[name] = model.classify(images, given.budget)
            if turn:
                rates[name].append(len(images) / (time.perf_counter() - started))
    first, *others = answers.values()
    for other in others:
        same = sum(
            a.class_index == b.class_index and a.exit == b.exit for a, b in zip(first, other, strict=True)
        )
        print(f"{same} of {len(first)} images got the same class from the same exit")
    return rates


def main() -> None:
    """Load, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", type=Path, help="a bundle; of 32 x 32 images")
    parser.add_argument("--device", type=Path, help="the same net with segments that gather rows")
    parser.add_argument("--budget", default="50%")
    parser.add_argument(
        "--providers", default="", help="execution providers, by commas; the server's choice if none"
    )
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--max-batch", type=int, default=32)
    parser.add_argument("--images", type=int, default=512, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        host = given.host or poster_bundle.make(Path(scratch) / "host").folder
        device = given.device or poster_bundle.make(Path(scratch) / "device", gather_rows=True).folder
        models = {"host": load(host, "off", given), "device": load(device, "on", given)}
        for name, model in models.items():
            print(f"{name}: {', '.join(model.providers)}")
            if model.missing_providers:
                print(f"{name}: NOT GOT: {', '.join(model.missing_providers)}")
        rates = measure(models, given)
        for model in models.values():
            model.close()
    for name, found in rates.items():
        print(
            f"features on the {name}: {statistics.median(found):.0f} images/s "
            f"(min {min(found):.0f}, max {max(found):.0f})"
        )
    ratios = [b / a for a, b in zip(rates["host"], rates["device"], strict=True)]
    print(f"device over host: {statistics.median(ratios):.3f} (min {min(ratios):.3f}, max {max(ratios):.3f})")
    if given.json:
        facts = {"providers": models["device"].providers, "budget": given.budget, "images_per_second": rates}
        given.json.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
