"""Features on the device against the host, float32 against float16, on each execution provider at hand.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --images 4 --batch 2 --rounds 1 --threads 1   # two minutes on one CPU core
    python -m benchmarks.gpu --providers CUDAExecutionProvider --networks resnet50 --precisions fp16
    python -m benchmarks.gpu --host models/a --device models/b --budget 150MFLOPs   # bundles that are there

Networks with random weights are made on the spot. Every way through a network has a process of its own, and
they take turns. A provider that is missing is named. Without a GPU the CPU provider runs, and the page says
so.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.reporting import publish
from benchmarks.speed.machine import machine
from serving.bundle import read_bundle
from serving.bundle.manifest import Precision
from serving.engine.providers import nvidia_gpus
from serving.engine.sessions import available_providers
from serving.errors import OfframpError

from .bundles import Cuts, given, written
from .here import CHAINS, absence, gpu_names
from .measuring import measure
from .networks import NETWORKS, POSTER, network
from .page import page
from .rows import facts
from .ways import Settings

OUT = Path(__file__).parents[2] / "docs" / "benchmarks" / "gpu"
DEFAULT = (POSTER, "resnet50", "vit_b_16")
PRECISIONS: dict[str, Precision] = {"float32": "float32", "fp16": "float16"}
_STARTED = time.monotonic()


def main() -> int:
    """Measure, and write the page."""
    asked = _arguments()
    try:
        _measure(asked)
    except OfframpError as error:  # of a bundle that was named
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def _measure(asked: argparse.Namespace) -> None:
    gpus, available = nvidia_gpus(), available_providers()
    providers = {name: absence(name, available, gpus) for name in asked.providers}
    settings = Settings(asked.budget, asked.batch, asked.threads)
    networks: dict[str, Any] = {}
    results: dict[str, Any] = {
        "gpus": gpus,
        "gpu_names": gpu_names(),
        "providers": providers,
        "settings": {**vars(settings), "images": asked.images, "rounds": asked.rounds},
        "networks": networks,
    }
    for cuts in _networks(asked):
        bundle = read_bundle(next(iter(cuts.folders.values())))
        computer = machine(bundle)
        exit_mflops = computer.pop("exit_mflops")
        rows = measure(cuts, providers, settings, asked.rounds, _say)
        networks[cuts.name] = {"exit_mflops": exit_mflops, "rows": facts(rows, len(exit_mflops))}
        results["machine"] = computer
    publish(asked.out, results, page(results))


def _networks(asked: argparse.Namespace) -> Iterator[Cuts]:
    """Make one network after the other, each gone from the disk when the next is made."""
    if asked.host:
        yield given(asked.host, asked.device, asked.images)
        return
    for name in asked.networks:
        with tempfile.TemporaryDirectory() as folder:
            _say(f"{name}: bundles")
            yield written(
                network(name, asked.images), [PRECISIONS[each] for each in asked.precisions], Path(folder)
            )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=DEFAULT)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=tuple(PRECISIONS))
    parser.add_argument("--providers", nargs="+", choices=CHAINS, default=tuple(CHAINS))
    parser.add_argument("--host", type=Path, help="a bundle to measure instead")
    parser.add_argument("--device", type=Path, help="the same net with segments that gather rows")
    parser.add_argument("--budget", default="50%")
    parser.add_argument("--images", type=int, default=128, help="of a round, at least 2")
    parser.add_argument("--batch", type=int, default=32, help="the most images in one run of a stage")
    parser.add_argument("--rounds", type=int, default=5, help="that count; one more comes before")
    parser.add_argument("--threads", type=int, default=0, help="of each model on the CPU; one a core if 0")
    parser.add_argument("--out", type=Path, default=OUT, help="path of the results without its ending")
    asked = parser.parse_args()
    if (asked.host is None) != (asked.device is None):
        parser.error("--host and --device go together")
    if asked.images < 2 or asked.rounds < 1:
        parser.error("expected --images of 2 or more, and --rounds of 1 or more")
    return asked


def _say(text: str) -> None:
    print(f"[{time.monotonic() - _STARTED:6.1f} s] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
