"""The whole road in a few minutes, by the commands that a user would type."""

import asyncio
import math
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from serving.bundle import read_bundle
from serving.command_line import program
from training.data.source import load_source
from training.demo.config import DemoConfig
from training.demo.server import running_server
from training.demo.traffic import Summary, send, summarise
from training.errors import DemoError
from training.runs.run import Run

DATA_SET = "digits"
FIT = [
    *("--dataset", DATA_SET, "--method", "meta-gf", "--schedule", "cosine"),
    # Four exits, from .9 to 4 MFLOPs; operators this small gain nothing from a second thread.
    *("--model", "msdnet-tiny", "--model-option", "blocks=4", "base=1", "--threads", "1"),
    # Few images: enough of them to estimate BatchNorm, and to fit thresholds on.
    *("--method-option", "bn_share=0.5", "--validation-share", "0.3"),
]
LADDER = (0.1, 0.35, 0.65, 1.0)
"""The four budgets: how far each lies between the cheapest exit's cost and full depth."""

OVERSPENT = 1.15
"""A mean cost this far over its budget fails the demo: 360 test images are few, so some noise is allowed."""

LESS_ACCURATE = 0.03
"""Full depth this much less accurate than the smallest budget fails the demo, for the same reason."""


def make_bundle(config: DemoConfig, console: Console) -> None:
    """Train, evaluate and export by the commands; an older demo run goes first.

    Raises:
        DemoError: a command failed, or the run folder is something else's.
    """
    if config.run.exists():
        Run.open(config.run)  # whatever is no run is not ours to remove
        shutil.rmtree(config.run)
    run, bundle = str(config.run), str(config.bundle)
    _run(console, "Train with Meta-GF", "fit", *FIT, "--epochs", str(config.epochs), "--out", run)
    _run(console, "Evaluate on the test images", "evaluate", run)
    _run(console, "Export", "export", run, "--out", bundle, "--force")


def ask(config: DemoConfig, console: Console) -> list[Summary]:
    """Start the server, send it the test images as PNG files under four budgets, and stop it.

    Raises:
        DemoError: the server did not start, answer or stop as it should.
    """
    flops = read_bundle(config.bundle).manifest.exit_flops
    # Whole kFLOPs, upwards: what is written in the request is what is meant, and the last one is full depth.
    budgets = [math.ceil((flops[0] + share * (flops[-1] - flops[0])) / 1e3) * 1e3 for share in LADDER]
    bodies, labels = test_images(Run.open(config.run))
    keep_samples(config.run / "images", bodies, labels)
    console.rule("Serve")
    log = config.run / "server.log"
    with running_server(config.bundle, log) as address:
        console.print(f"serving {config.bundle} at {address}, log in {log}", soft_wrap=True, highlight=False)
        return asyncio.run(_ask_all(address, budgets, bodies, labels, len(flops), config, console))


def test_images(run: Run) -> tuple[list[bytes], list[int]]:
    """Return the run's test images as they were published, PNG files of 8 × 8 pixels, and their labels."""
    source = load_source(DATA_SET)
    subset = run.data().split.test
    part = source.parts[subset.part]
    bodies = [cell["bytes"] for cell in part.images[subset.rows]["image"]]
    return bodies, part.labels[subset.rows].tolist()


def keep_samples(folder: Path, bodies: Sequence[bytes], labels: Sequence[int]) -> None:
    """Write one image of each class to `folder`, named by its class, for questions by hand."""
    folder.mkdir(parents=True, exist_ok=True)
    for label, body in dict(zip(labels, bodies, strict=True)).items():
        (folder / f"{label}.png").write_bytes(body)


def table_of(summaries: Sequence[Summary]) -> Table:
    """Return the cost and accuracy under each budget, a row for each."""
    table = Table(title="accuracy under budgets, over HTTP")
    for heading in (
        "budget MFLOPs",
        "spent MFLOPs",
        "accuracy %",
        "share of each exit %",
        "p50 ms",
        "p99 ms",
    ):
        table.add_column(heading, justify="right")
    for summary in summaries:
        table.add_row(
            f"{summary.budget_flops / 1e6:.2f}",
            f"{summary.mean_flops / 1e6:.2f}",
            f"{100 * summary.accuracy:.1f}",
            " ".join(f"{100 * share:.0f}" for share in summary.shares),
            f"{summary.p50_ms:.1f}",
            f"{summary.p99_ms:.1f}",
        )
    return table


def check(summaries: Sequence[Summary]) -> None:
    """Insist that budgets were kept, and that spending more did not cost accuracy.

    Raises:
        DemoError: they were not.
    """
    for summary in summaries:
        if summary.mean_flops > summary.budget_flops * OVERSPENT:
            raise DemoError(
                f"a budget of {summary.budget_flops / 1e6:.2f} MFLOPs cost {summary.mean_flops / 1e6:.2f} "
                f"per image, over {OVERSPENT:.0%} of it"
            )
    if summaries[-1].accuracy < summaries[0].accuracy - LESS_ACCURATE:
        raise DemoError(
            f"full depth is right on {summaries[-1].accuracy:.1%} of the images, the cheapest budget on "
            f"{summaries[0].accuracy:.1%}: expected depth to help"
        )


def _run(console: Console, title: str, name: str, *arguments: str) -> None:
    console.rule(title)
    console.print(f"$ {program(name)} {shlex.join(arguments)}", style="dim", soft_wrap=True)
    command = [sys.executable, "-P", "-m", "offramp", name, *arguments]
    code = subprocess.run(command, check=False).returncode  # noqa: S603 - our own program
    if code != 0:
        raise DemoError(f"`{program(name)}` ended with exit code {code}")


async def _ask_all(
    address: str,
    budgets: Sequence[float],
    bodies: Sequence[bytes],
    labels: Sequence[int],
    exits: int,
    config: DemoConfig,
    console: Console,
) -> list[Summary]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    summaries = []
    limits = httpx.Limits(max_connections=config.connections)
    with Progress(*columns, console=console) as progress:
        async with httpx.AsyncClient(base_url=address, limits=limits, timeout=60) as client:
            for budget in budgets:
                written = f"{budget / 1e6:.3f}MFLOPs"
                bar = progress.add_task(f"{len(bodies)} test images at {written}", total=len(bodies))
                replies = await send(
                    client, bodies, written, config.connections, partial(progress.advance, bar)
                )
                summaries.append(summarise(budget, replies, labels, exits))
    return summaries
