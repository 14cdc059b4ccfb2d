"""The parts of the benchmark: each measures its own, and what that says of the targets."""

import asyncio
import os
import random
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import onnxruntime

from serving.bundle import Bundle, read_bundle

from . import costs, memory, open_loop, wrk
from .assets import Assets
from .client import Connection, request_bytes, wait_for_answer
from .environments import Rival, path_of, rivals, serve
from .floors import Raw, RawWhole
from .processes import Running, cpu_seconds, free_port, offramp, resident_bytes, started
from .ratios import Spread, percentile, ratios

POSTER_BUDGET_FLOPS = 150e6
POSTER_FULL_FLOPS = 340_564_636
"""Where the poster's net costs as much or more, the budget is the poster's; elsewhere the same share."""


@dataclass
class Bench:
    """What is measured, how long, and what has been found so far.

    Args:
        assets: nets and images.
        work: a folder for logs and environments.
        rounds: how often each comparison is made.
        seconds: of load in each round.
        rows: of the memory part.
        say: tells the user how far it is.
    """

    assets: Assets
    work: Path
    rounds: int
    seconds: float
    rows: int
    say: Callable[[str], None]
    measured: dict[str, Spread] = field(default_factory=dict)
    numbers: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bundles = {name: read_bundle(net.bundle) for name, net in self.assets.nets.items()}
        full_flops = self.bundles["float32"].manifest.exit_flops[-1]
        dear = full_flops > 2 * POSTER_BUDGET_FLOPS
        self.budget = "150MFLOPs" if dear else f"{100 * POSTER_BUDGET_FLOPS / POSTER_FULL_FLOPS:.0f}%"
        self.pngs = [path.read_bytes() for path in sorted(self.assets.pngs.glob("*.png"))]

    @property
    def query(self) -> str:
        """The path that asks for the budget."""
        return f"/classify?budget={self.budget.replace('%', '%25')}"

    def cheap_budgets(self, precision: str) -> tuple[str, ...]:
        """FLOPs an image that let most images leave at the first exit, and some go further."""
        flops = self.bundles[precision].manifest.exit_flops
        near, between = min(1.2 * flops[0], flops[-1]), (flops[0] + flops[-1]) / 2
        return (f"{near:.0f}",) * 4 + (f"{between:.0f}",)

    def note(self, text: str) -> None:
        """Keep what the reader of the results must know."""
        self.notes.append(text)
        self.say(f"note: {text}")

    def serve(self, precision: str) -> Any:
        """Run our server over one of the nets, with the loop open: images take the exits of the floors."""
        log = self.work / f"offramp-{precision}.log"
        return offramp(self.assets.nets[precision].bundle, log, "--controller", "off")


def engine(bench: Bench) -> None:
    """ONNX Runtime alone, and the engine alone."""
    budgets = ("50%", bench.budget)
    rates: dict[str, list[float]] = {}
    around: dict[str, list[float]] = {}
    with ExitStack() as stack:
        raws = {precision: Raw(bundle) for precision, bundle in bench.bundles.items()}
        engines = {
            precision: costs.Engine(bundle, bench.assets.images)
            for precision, bundle in bench.bundles.items()
        }
        for loaded in engines.values():
            stack.callback(loaded.close)
        paths = {
            (precision, budget): raw.path(bench.assets.images, budget)
            for precision, raw in raws.items()
            for budget in budgets
        }
        for number in range(-1, bench.rounds):
            for (precision, budget), path in paths.items():
                floor, ran = raws[precision].rate(path), engines[precision].run(budget)
                if number < 0:  # the first round plans, allocates and learns
                    continue
                key = f"{precision} at {budget}"
                rates.setdefault(f"raw {key}", []).append(floor)
                rates.setdefault(f"engine {key}", []).append(ran.rate)
                around.setdefault(key, []).append(1e6 * ran.around)
            bench.say(f"engine: round {number + 1} of {bench.rounds}")
    bench.numbers["engine images/s"] = rates
    bench.numbers["around stages us"] = {key: asdict(Spread.of(values)) for key, values in around.items()}
    bench.measured["engine_over_raw"] = ratios(rates["engine float32 at 50%"], rates["raw float32 at 50%"])
    if "int8" in bench.bundles:
        fast, slow = (rates[f"engine {precision} at {bench.budget}"] for precision in ("int8", "float32"))
        bench.measured["int8_engine"] = ratios(fast, slow)


def http(bench: Bench) -> None:
    """Servers under 64 connections, beside what ONNX Runtime alone makes of the same images."""
    tool = _wrk(bench, "the servers' rates")
    if tool is None:
        return
    with ExitStack() as stack:
        servers = _start_all(bench, stack)
        raws = {precision: Raw(bundle) for precision, bundle in bench.bundles.items()}
        paths = {name: raw.path(bench.assets.images, bench.budget) for name, raw in raws.items()}
        wholes = {name: RawWhole(net.full.read_bytes()) for name, net in bench.assets.nets.items()}
        floors = [f"{kind} {name}" for name in raws for kind in ("raw", "raw full depth")]
        for url in servers.values():  # the first second of a server is not its rate
            wrk.load(tool, url, bench.assets.pngs, 1)
        rates: dict[str, list[float]] = {name: [] for name in (*servers, *floors)}
        for number in range(bench.rounds):
            for precision, raw in raws.items():
                rates[f"raw {precision}"].append(raw.rate(paths[precision]))
                rates[f"raw full depth {precision}"].append(wholes[precision].rate(bench.assets.images))
            for name, url in servers.items():
                seen = wrk.load(tool, url, bench.assets.pngs, bench.seconds)
                rates[name].append(seen.requests_per_second)
                if seen.failed or not seen.requests:
                    bench.note(f"{name}: {seen.requests} requests, {seen.failed} failed (round {number + 1})")
            bench.say(f"http: round {number + 1} of {bench.rounds}")
    bench.numbers["requests/s"] = rates
    best = {f"full {precision}": rates.get(_best(rates, precision) or "", []) for precision in bench.bundles}
    compared = {
        "server_over_raw": ("offramp float32", "raw float32"),
        "server_over_full": ("offramp float32", "full float32"),
        "int8_server": ("offramp int8", "offramp float32"),
        "int8_over_full": ("offramp int8", "full float32"),
        "int8_over_full_int8": ("offramp int8", "full int8"),
        "int8_server_over_raw": ("offramp int8", "raw int8"),
    }
    known = {**rates, **best}
    for key, (over, under) in compared.items():
        if known.get(over) and known.get(under) and min(known[under]) > 0:
            bench.measured[key] = ratios(known[over], known[under])


def _start_all(bench: Bench, stack: ExitStack) -> dict[str, str]:
    """Start our server and its rivals in every precision; return where each is posted to."""
    servers: dict[str, str] = {}
    for precision in bench.bundles:
        ours = stack.enter_context(bench.serve(precision))
        wait_for_answer(ours.port, request_bytes(bench.query, bench.pngs[0]))
        servers[f"offramp {precision}"] = ours.url(bench.query)
        for rival in rivals():
            if running := _start(bench, stack, rival, precision):
                servers[f"{rival.name} {precision}"] = running.url(path_of(rival))
    return servers


def lone(bench: Bench) -> None:
    """One request at a time, against the raw time of the stages that its image went through."""
    raw, images = Raw(bench.bundles["float32"]), bench.assets.images
    extra, served, alone = [], [], []
    each = 60
    with bench.serve("float32") as server:
        connection = Connection(server.port)
        for number in range(-1, bench.rounds):
            rows = [(number * each + offset) % len(images) for offset in range(each)]
            replies = [connection.send(request_bytes(bench.query, bench.pngs[row])) for row in rows]
            raw_seconds = [
                raw.seconds_alone(images[row], reply.exits[0] - 1)
                for row, reply in zip(rows, replies, strict=True)
            ]
            if number < 0:  # to warm up
                continue
            seconds = [reply.seconds for reply in replies]
            served.append(1e3 * percentile(seconds, 0.5))
            alone.append(1e3 * percentile(raw_seconds, 0.5))
            between = [took - floor for took, floor in zip(seconds, raw_seconds, strict=True)]
            extra.append(1e3 * percentile(between, 0.5))
            bench.say(f"lone: round {number + 1} of {bench.rounds}")
        connection.close()
    bench.measured["lone_extra_ms"] = Spread.of(extra)
    bench.numbers["lone request ms"] = {"served": served, "raw": alone, "extra": extra}


def tail(bench: Bench) -> None:
    """Random arrivals at 70% of what the server can answer."""
    tool = _wrk(bench, "the tail at 70% load")
    if tool is None:
        return
    requests = [request_bytes(bench.query, png) for png in bench.pngs]
    random.Random(0).shuffle(requests)
    worst, rounds = [], []
    with bench.serve("float32") as server:
        wrk.load(tool, server.url(bench.query), bench.assets.pngs, 1)
        for number in range(bench.rounds):
            capacity = wrk.load(tool, server.url(bench.query), bench.assets.pngs, bench.seconds)
            rate = 0.7 * capacity.requests_per_second
            seconds = max(2 * bench.seconds, 1)
            seen = asyncio.run(open_loop.poisson(server.port, requests, rate, seconds, seed=number))
            if seen.failed:
                bench.note(f"tail: {seen.failed} requests failed in round {number + 1}")
            by_exit = {
                exit_number: {
                    "answers": len(took),
                    "p50_ms": 1e3 * percentile(took, 0.5),
                    "p99_ms": 1e3 * percentile(took, 0.99),
                }
                for exit_number, took in sorted(seen.seconds.items())
            }
            rounds.append({"rate": rate, "exits": by_exit})
            if seen.tails:
                worst.append(max(seen.tails.values()))
            bench.say(f"tail: round {number + 1} of {bench.rounds}")
    bench.numbers["70% load"] = rounds
    if worst:
        bench.measured["tail"] = Spread.of(worst)
    else:
        bench.note(f"tail: no exit had {open_loop.MIN_ANSWERS} answers in a round; load it for longer")


def idle(bench: Bench) -> None:
    """What the server takes of a core when nobody asks."""
    shares = []
    with bench.serve("float32") as server:
        wait_for_answer(server.port, request_bytes(bench.query, bench.pngs[0]))
        time.sleep(min(2.0, bench.seconds))
        for _ in range(bench.rounds):
            before = cpu_seconds(server.pid)
            time.sleep(bench.seconds / 2)
            shares.append((cpu_seconds(server.pid) - before) / (bench.seconds / 2))
    bench.measured["idle_share"] = Spread.of(shares)
    bench.say("idle: done")


def flat(bench: Bench) -> None:
    """Whether memory stays flat over many rows; one round, since what is measured is where it ends."""
    precision = "int8" if "int8" in bench.bundles else "float32"
    with bench.serve(precision) as server:
        wait_for_answer(server.port, request_bytes(bench.query, bench.pngs[0]))
        fresh = resident_bytes(server.pid)
        growth = memory.grow(server, bench.assets.images, bench.rows, bench.cheap_budgets(precision))
    bench.measured["memory_growth"] = Spread.of([growth.ratio])
    bench.numbers["memory"] = {"precision": precision, "fresh_bytes": fresh, **asdict(growth)}
    bench.say(f"memory: {bench.rows:,} rows done")


def parts_of_a_request(bench: Bench) -> None:
    """Microseconds of HTTP, decoding, queues, stages and response."""
    tool = _wrk(bench, "what HTTP costs")
    table = {}
    for precision, bundle in bench.bundles.items():
        decode = costs.decode_seconds(bundle, bench.pngs)
        response = costs.response_seconds(bundle)
        model = costs.Engine(bundle, bench.assets.images)
        runs = [model.run(bench.budget) for _ in range(bench.rounds + 1)]
        model.close()
        ran = min(runs, key=lambda run: run.around)
        cost = {"decode": decode, "queue": ran.around, "stages": ran.stages, "response": response}
        if tool is not None:
            cost = {"http": _http_seconds(bench, tool, precision) - decode - response, **cost}
        table[precision] = {name: 1e6 * seconds for name, seconds in cost.items()}
    bench.numbers["a request us"] = table
    bench.say("costs: done")


def _http_seconds(bench: Bench, tool: str, precision: str) -> float:
    """Processor time per request of all but the model."""
    port = free_port()
    folder = str(bench.assets.nets[precision].bundle)
    command = [sys.executable, "-m", "benchmarks.speed.instant_server", folder, str(port)]
    seen = []
    with started(command, port, bench.work / "instant.log") as server:
        wrk.load(tool, server.url(bench.query), bench.assets.pngs, 1)
        for _ in range(3):
            before = cpu_seconds(server.pid)
            load = wrk.load(tool, server.url(bench.query), bench.assets.pngs, bench.seconds)
            seen.append((cpu_seconds(server.pid) - before) / max(1, load.requests))
    return min(seen)


def _wrk(bench: Bench, what: str) -> str | None:
    try:
        return wrk.install()
    except wrk.WrkMissingError as error:
        bench.note(f"{what}: not measured. {error}")
        return None


def _start(bench: Bench, stack: ExitStack, rival: Rival, precision: str) -> Running | None:
    try:
        running = stack.enter_context(serve(rival, bench.assets.nets[precision].full, bench.work))
        wait_for_answer(running.port, request_bytes(path_of(rival), bench.pngs[0]))
    except RuntimeError as error:
        bench.note(f"{rival.name} {precision}: not measured. {error}")
        return None
    return running


def _best(rates: dict[str, list[float]], precision: str) -> str | None:
    """The full-depth server with the highest median."""
    medians = {
        name: Spread.of(values).median
        for name, values in rates.items()
        if name.endswith(precision) and not name.startswith(("offramp", "raw"))
    }
    return max(medians, key=lambda name: medians[name]) if medians else None


PARTS: dict[str, Callable[[Bench], None]] = {
    "engine": engine,
    "http": http,
    "lone": lone,
    "tail": tail,
    "idle": idle,
    "costs": parts_of_a_request,
    "memory": flat,
}


def machine(bundle: Bundle) -> dict[str, Any]:
    """What it was measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown",
    )
    flags = Path("/proc/cpuinfo").read_text()
    has = [name for name in ("avx2", "avx512f", "avx512_vnni", "avx_vnni") if f" {name} " in flags]
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "has": has,
        "onnxruntime": onnxruntime.__version__,
        "exit_mflops": [round(flops / 1e6, 2) for flops in bundle.manifest.exit_flops],
    }
