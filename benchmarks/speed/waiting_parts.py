"""Latencies, alone and at 70% load, and the server's use of a core when idle and of memory under load."""

import asyncio
import random
import time
from dataclasses import asdict

from . import memory, open_loop, wrk
from .client import Connection, request_bytes, wait_for_answer
from .floors import Raw
from .processes import cpu_seconds, resident_bytes
from .ratios import Spread, percentile
from .state import Bench, load_tool


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
    tool = load_tool(bench, "the tail at 70% load")
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
    """The server's share of a core when idle."""
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
