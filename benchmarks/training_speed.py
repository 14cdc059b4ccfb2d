"""Images a second of `offramp fit`, beside a bare loop over the same network; Meta-GF in epochs of fit.

    python -m benchmarks.training_speed                       about five minutes on two cores
    python -m benchmarks.training_speed --images 256 --rounds 1     does it run?
    python -m benchmarks.training_speed --compile             with torch.compile, which takes minutes to begin

All ways run in this process in turn, round after round, so that their ratios hold where the machine's speed
drifts; the first round warms up. *fit* is an epoch of `training.fitting` on its own data feed, augmentation
and optimiser, without validation and checkpoint; the bare loop takes the same images as they are, adds up
every exit's cross-entropy, and steps SGD. Writes OUT.json and OUT.md.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.reporting import publish, table
from benchmarks.speed.ratios import Spread, ratios
from training.config import FitConfig
from training.data.batches import Data
from training.fitting.fit import method_of, problem_of, untrained
from training.models.multi_exit import MultiExitModel
from training.runs.environment import environment
from training.runs.start import started

OUT = Path(__file__).parents[1] / "docs" / "benchmarks" / "training_speed"
PRECISIONS = ("float32", "bf16")
OVERHEAD = 0.05
"""Target: the share of its time by which fit may be slower than the bare loop."""

Epoch = Callable[[int], None]
"""Trains the epoch of a number."""


def config_of(options: argparse.Namespace, precision: str, method: str, *, compiled: bool) -> FitConfig:
    """The settings of a way."""
    return FitConfig.model_validate(
        {
            "dataset": "digits",
            "image_size": 32,
            "train_limit": options.images,
            "model": options.model,
            "method": method,
            "batch_size": options.batch_size,
            "epochs": 10_000,
            "threads": options.threads,
            "precision": precision,
            "compile": compiled,
        }
    )


def fit_epoch(folder: Path, config: FitConfig) -> tuple[Epoch, Data]:
    """An epoch as `offramp fit` trains it."""
    run, data = started(folder, config)
    problem = problem_of(run, untrained(run, data), data, "cpu")
    how = method_of(config, problem)

    def epoch(number: int) -> None:
        problem.epoch = number
        how.epoch()

    return epoch, data


def bare_epoch(model: MultiExitModel, data: Data, batch_size: int, *, bf16: bool) -> Epoch:
    """An epoch as a few lines of torch train it, on the same images without augmentation."""
    batches = list(data.train(0, "bare"))
    images = torch.cat([batch.images for batch in batches])
    labels = torch.cat([batch.labels for batch in batches])
    model = model.to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def epoch(number: int) -> None:
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(number))
        for chosen in order.split(batch_size):  # type: ignore[no-untyped-call]
            optimiser.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = model(images[chosen])
            loss = torch.stack(
                [F.cross_entropy(exit_logits.float(), labels[chosen]) for exit_logits in logits]
            )
            loss.sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    return epoch


def ways(options: argparse.Namespace, folder: Path) -> tuple[dict[str, Epoch], int]:
    """Every way by its name, and the images of an epoch."""
    found: dict[str, Epoch] = {}
    images = 0
    for precision in PRECISIONS:
        config = config_of(options, precision, "joint", compiled=False)
        found[f"fit, {precision}"], data = fit_epoch(folder / f"joint-{precision}", config)
        images = data.steps() * options.batch_size
        model = untrained(started(folder / f"bare-{precision}", config)[0], data)
        bare = bare_epoch(model, data, options.batch_size, bf16=precision == "bf16")
        found[f"bare loop, {precision}"] = bare
        if options.compile:
            config = config_of(options, precision, "joint", compiled=True)
            found[f"fit compiled, {precision}"], _ = fit_epoch(folder / f"compiled-{precision}", config)
        config = config_of(options, precision, "meta-gf", compiled=False)
        found[f"Meta-GF, {precision}"], _ = fit_epoch(folder / f"meta-gf-{precision}", config)
    return found, images


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Time every way in turn."""
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        chosen, images = ways(options, Path(folder))
        for number in range(options.rounds + 1):
            for name, epoch in chosen.items():
                began = time.perf_counter()
                epoch(number)
                took = time.perf_counter() - began
                if number:
                    seconds.setdefault(name, []).append(took)
                print(f"round {number} {name}: {took:.1f} s", flush=True)
    return {
        "model": options.model,
        "batch_size": options.batch_size,
        "images": images,
        "machine": environment(torch.get_num_threads(), 0, "cpu"),
        "seconds_per_epoch": seconds,
    }


def page(results: dict[str, Any]) -> str:
    """The whole page."""
    seconds, images, machine = results["seconds_per_epoch"], results["images"], results["machine"]
    rates = {name: [images / took for took in all_of] for name, all_of in seconds.items()}
    pairs = [
        *((f"fit, {precision}", f"bare loop, {precision}") for precision in PRECISIONS),
        *((f"fit compiled, {precision}", f"fit, {precision}") for precision in PRECISIONS),
        ("fit, bf16", "fit, float32"),
        ("Meta-GF, bf16", "Meta-GF, float32"),
    ]
    lines = [
        "# Training speed",
        "",
        "Written by `python -m benchmarks.training_speed`; [training_speed.json](training_speed.json) has "
        "every round.",
        "",
        f"{results['model']}, digits at 32 pixels, batches of {results['batch_size']}, {images:,} images an "
        f"epoch, {machine['threads']} threads of a CPU with {machine['cpu']}, torch {machine['torch']}. "
        "Rounds alternate. The bare loop augments nothing.",
        "",
        *table(
            ["images/s", "min", "median", "max"],
            [[name, *_spread(Spread.of(r), 0)] for name, r in rates.items()],
        ),
        "",
        *table(
            ["ratio of images/s", "min", "median", "max"],
            [
                [f"{above} / {below}", *_spread(ratios(rates[above], rates[below]), 3)]
                for above, below in pairs
                if above in rates and below in rates
            ],
        ),
        "",
        *(_overhead(rates, precision) for precision in PRECISIONS),
        "",
        *table(
            ["Meta-GF, outer epoch in epochs of fit", "min", "median", "max"],
            [
                [
                    precision,
                    *_spread(ratios(seconds[f"Meta-GF, {precision}"], seconds[f"fit, {precision}"]), 2),
                ]
                for precision in PRECISIONS
            ],
        ),
    ]
    return "\n".join(lines) + "\n"


def _overhead(rates: dict[str, list[float]], precision: str) -> str:
    lost = 1 - ratios(rates[f"fit, {precision}"], rates[f"bare loop, {precision}"]).median
    verdict = "met" if lost <= OVERHEAD else "**missed**"
    target = f"target: at most {100 * OVERHEAD:.0f}%: {verdict}"
    return f"- Overhead of fit in {precision}: {100 * lost:.1f}% ({target})."


def _spread(spread: Spread, digits: int) -> list[str]:
    return [f"{value:,.{digits}f}" for value in (spread.low, spread.median, spread.high)]


def main() -> int:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="msdnet-small")
    parser.add_argument("--images", type=int, default=1280, help="of an epoch")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--compile", action="store_true", help="measure torch.compile, too")
    parser.add_argument("--out", type=Path, default=OUT, help="path of JSON and page without their endings")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results = measure(options)
    publish(options.out, results, page(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
