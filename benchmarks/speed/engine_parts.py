"""The engine alone against ONNX Runtime alone, and what one request costs, part by part."""

import sys
from contextlib import ExitStack
from dataclasses import asdict

from . import costs, wrk
from .floors import Raw
from .processes import cpu_seconds, free_port, started
from .ratios import Spread, ratios
from .state import Bench, load_tool


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


def parts_of_a_request(bench: Bench) -> None:
    """Microseconds of HTTP, decoding, queues, stages and response."""
    tool = load_tool(bench, "what HTTP costs")
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
