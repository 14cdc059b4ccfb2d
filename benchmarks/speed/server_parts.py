"""Servers under 64 connections: ours, and those that a user would pick instead."""

from contextlib import ExitStack

from . import wrk
from .client import request_bytes, wait_for_answer
from .environments import Peer, path_of, rivals, serve
from .floors import Raw, RawWhole
from .processes import Running
from .ratios import Spread, ratios
from .state import Bench, load_tool

OURS = {"offramp": (), "offramp, --processes auto": ("--processes", "auto")}
"""As the command starts it, and as the container image does; flags by name."""


def http(bench: Bench) -> None:
    """Servers under 64 connections, beside what ONNX Runtime alone makes of the same images."""
    tool = load_tool(bench, "the servers' rates")
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
    best: dict[str, list[float]] = {}
    for precision in bench.bundles:
        best[f"full {precision}"] = _best(rates, precision, ours=False)
        best[f"ours {precision}"] = _best(rates, precision, ours=True)
    compared = {
        "server_over_raw": ("offramp float32", "raw float32"),
        "server_over_full": ("ours float32", "full float32"),
        "int8_server": ("offramp int8", "offramp float32"),
        "int8_over_full": ("ours int8", "full float32"),
        "int8_over_full_int8": ("ours int8", "full int8"),
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
        for name, flags in OURS.items():
            ours = stack.enter_context(bench.serve(precision, *flags))
            wait_for_answer(ours.port, request_bytes(bench.query, bench.pngs[0]))
            servers[f"{name} {precision}"] = ours.url(bench.query)
        for rival in rivals():
            if running := _start(bench, stack, rival, precision):
                servers[f"{rival.name} {precision}"] = running.url(path_of(rival))
    return servers


def _start(bench: Bench, stack: ExitStack, rival: Peer, precision: str) -> Running | None:
    try:
        running = stack.enter_context(serve(rival, bench.assets.nets[precision].full, bench.work))
        wait_for_answer(running.port, request_bytes(path_of(rival), bench.pngs[0]))
    except RuntimeError as error:
        bench.note(f"{rival.name} {precision}: not measured. {error}")
        return None
    return running


def _best(rates: dict[str, list[float]], precision: str, *, ours: bool) -> list[float]:
    """The rates of the server with the highest median, of ours or of the full-depth ones."""
    found = [
        values
        for name, values in rates.items()
        if name.endswith(precision) and name.startswith("offramp") == ours and not name.startswith("raw")
    ]
    return max(found, key=lambda values: Spread.of(values).median, default=[])
