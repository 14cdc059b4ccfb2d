"""The server without a network: requests a second, and processor time of a request, that its Python allows.

    python -m benchmarks.speed.python_ceiling exported_models/cifar10-msdnet-int8

The real server and all that listens to it, with ONNX Runtime replaced by a look-up in the calibration of a
bundle (`benchmarks.engine.core_cost.Replay`), under 64 connections of wrk for `--rounds` rounds. `--profile`
prints the functions of the event loop's thread that take most time of their own. About half a minute.

Files carry the number of the calibration row in their first pixel, so that images leave where that row does.
"""

import argparse
import cProfile
import io
import pstats
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.engine.core_cost import Replay, numbered
from benchmarks.speed.processes import cpu_seconds, free_port, started
from benchmarks.speed.wrk import install, load
from serving.bundle import read_bundle
from serving.events import fan_out
from serving.model import Model, RuntimeOptions, ServingConfig
from serving.processes.parts import keep_objects, tune_process
from serving.settings import Settings
from serving.telemetry.live import Live
from serving.telemetry.metrics import Metrics
from serving.telemetry.statistics import Statistics
from serving.web.app import create_app
from serving.web.server import Server, reserve
from serving.web.service import Service

IMAGES = 512


def serve(folder: Path, port: int, profile: Path | None) -> None:
    """Serve a bundle, whose engine looks its answers up, until stopped."""
    tune_process()
    bundle = read_bundle(folder)
    engine: Any = Replay(bundle)
    metrics, statistics, live = Metrics(), Statistics(), Live()
    listeners = fan_out(metrics, statistics, live)
    rules = ServingConfig(sample_share=0.01)
    with Model(bundle, engine, RuntimeOptions(emit=listeners, rules=rules)) as model:
        settings = Settings(port=port, drain_seconds=0)
        models = {bundle.name: model}
        service = Service(models, settings, metrics, listeners, statistics=statistics, live=live)
        service.show()
        server = Server(create_app(service), service, lambda: None)
        keep_objects()
        with reserve("127.0.0.1", port) as reserved:
            if profile is None:
                server.run([reserved])
                return
            watch = cProfile.Profile()
            watch.runcall(server.run, [reserved])
            watch.dump_stats(profile)


def write_images(folder: Path, bundle: Path) -> None:
    """Write one PNG file for each of some calibration rows."""
    images = numbered(read_bundle(bundle))
    for number in range(IMAGES):
        stream = io.BytesIO()
        Image.fromarray(images[number % len(images), 0]).save(stream, "PNG")
        (folder / f"{number:04d}.png").write_bytes(stream.getvalue())


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.serve is not None:
        serve(given.bundle, given.serve, given.into)
        return 0
    wrk, port = install(), free_port()
    with tempfile.TemporaryDirectory() as scratch:
        write_images(Path(scratch), given.bundle)
        stats = Path(scratch) / "profile"
        command = [sys.executable, "-m", "benchmarks.speed.python_ceiling", str(given.bundle)]
        command += ["--serve", str(port), *(["--into", str(stats)] if given.profile else [])]
        rates, costs = [], []
        with started(command, port, Path(scratch) / "log") as server:
            url = server.url("/classify?budget=50%25")
            load(wrk, url, Path(scratch), 1.0, given.connections)
            for _ in range(given.rounds):
                before = cpu_seconds(server.pid)
                seen = load(wrk, url, Path(scratch), given.seconds, given.connections)
                rates.append(seen.requests_per_second)
                costs.append(1000 * (cpu_seconds(server.pid) - before) / seen.requests)
        for name, values, digits in (("requests/s", rates, 0), ("processor ms a request", costs, 3)):
            least, middle, most = min(values), statistics.median(values), max(values)
            print(f"{name}: {least:.{digits}f} / {middle:.{digits}f} / {most:.{digits}f}")
        if given.profile:
            pstats.Stats(str(stats)).sort_stats("tottime").print_stats(35)
    return 0


if __name__ == "__main__":
    sys.exit(main())
