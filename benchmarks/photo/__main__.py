"""Photographs at 224 pixels: requests a second and processor time per request, beside full-depth servers.

    python -m benchmarks.photo                           everything, about three hours on two cores
    python -m benchmarks.photo --networks resnet50,mobilenet_v3_large --connections 64 --budgets 50 --rounds 5
    python -m benchmarks.photo --offramp "" --offramp "--processes 2"   several ways to run our server
    python -m benchmarks.photo --page-only               the page alone, from the rounds so far

Rounds alternate between all servers of a network. Every round goes to the JSON file at once: a run that was
interrupted, or that asks for more rounds, networks or budgets, goes on with what is there.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from benchmarks.speed.machine import machine  # noqa: E402 - ONNX Runtime reads the variable once
from serving.bundle import read_bundle  # noqa: E402

from .book import Book, BookError, row_name  # noqa: E402
from .floors import Floors, decode_milliseconds  # noqa: E402
from .networks import NETWORKS, PRECISIONS, Made, made  # noqa: E402
from .page import page  # noqa: E402
from .servers import measure, peers, started_rows  # noqa: E402

WORK = ROOT / "benchmarks" / ".work"
OUT = ROOT / "docs" / "benchmarks" / "photo"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is missing, and write the page."""
    given = _arguments(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended, too
    if given.page_only:
        return _write_page(Book.read(given.out.with_suffix(".json")))
    WORK.mkdir(parents=True, exist_ok=True)
    book: Book | None = None
    for name in given.networks:
        _say(f"{name}: bundles")
        network = made(name, WORK, given.precisions)
        try:
            book = book or Book.open(given.out.with_suffix(".json"), _facts(given, network))
        except BookError as error:
            sys.stderr.write(f"error: {error}\n")
            return 2
        for precision in given.precisions:
            _measure(book, network, precision, given)
            _write_page(book)
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", type=_some_of(tuple(NETWORKS)), default=tuple(NETWORKS))
    parser.add_argument("--precisions", type=_some_of(PRECISIONS), default=PRECISIONS)
    parser.add_argument("--connections", type=_numbers, default=(64, 16, 1), help="by default 64,16,1")
    parser.add_argument("--budgets", type=_numbers, default=(100, 70, 50, 30), help="percent of full depth")
    parser.add_argument("--rounds", type=int, default=5, help="how often each row is measured")
    parser.add_argument("--seconds", type=float, default=6.0, help="of load in a round, at least 3 passes")
    parser.add_argument("--offramp", action="append", metavar="FLAGS", help="of our server; may be repeated")
    parser.add_argument("--no-floors", action="store_true", help="leave ONNX Runtime alone out")
    parser.add_argument("--no-peers", action="store_true", help="leave mosec and FastAPI out")
    parser.add_argument("--page-only", action="store_true", help="write the page from the JSON file")
    parser.add_argument("--out", type=Path, default=OUT, help="path of JSON and page without their endings")
    return parser.parse_args(argv)


def _some_of(known: tuple[str, ...]) -> Any:
    def names(text: str) -> tuple[str, ...]:
        chosen = tuple(text.split(","))
        if unknown := sorted(set(chosen) - set(known)):
            raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}: expected some of {', '.join(known)}")
        return chosen

    return names


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _facts(given: argparse.Namespace, network: Made) -> dict[str, Any]:
    first = read_bundle(next(iter(network.nets.values())).bundle)
    found = machine(first)
    found.pop("exit_mflops")
    kilobytes = sum(map(len, network.files)) / len(network.files) / 1e3
    return {"machine": found, "pictures": len(network.files), "picture_kb": round(kilobytes, 1)}


def _measure(book: Book, network: Made, precision: str, given: argparse.Namespace) -> None:
    """Measure the rounds that are missing of one network in one precision."""
    flags = given.offramp or [""]
    chosen = () if given.no_peers else peers()
    wanted = [
        row_name(network.name, precision, connections, who)
        for connections in given.connections
        for who in [
            *(f"offramp {flag}".strip() + f" at {budget}%" for flag in flags for budget in given.budgets),
            *(peer.name for peer in chosen),
        ]
    ]
    net = network.nets[precision]
    bundle = read_bundle(net.bundle)
    floors = None
    if not given.no_floors:
        floors = Floors(bundle, net.full.read_bytes(), network.pixels, given.budgets)
        wanted += [row_name(network.name, precision, None, name) for name in floors.names]
    if all(book.has(row, given.rounds) for row in wanted):
        _say(f"{network.name} {precision}: {given.rounds} rounds are there")
        return
    facts = book.networks.setdefault(f"{network.name} / {precision}", {})
    facts["exit_mflops"] = [round(flops / 1e6, 1) for flops in bundle.manifest.exit_flops]
    if floors is not None:
        shares = facts.setdefault("exit_shares", {})
        shares |= {str(budget): floors.shares(budget) for budget in given.budgets if budget < 100}
        facts["decode_ms"] = round(decode_milliseconds(network.files, bundle.manifest.preprocessing), 3)
    with started_rows(
        network, precision, budgets=given.budgets, flags=flags, peers=chosen, work=WORK
    ) as rows:
        for number in range(1, given.rounds + 1):
            for connections in given.connections:
                for row in rows:
                    name = row_name(network.name, precision, connections, row.who)
                    if book.has(name, number):
                        continue
                    before = book.rounds.get(name, [])
                    rate = before[-1]["rate"] if before else None
                    book.add(name, measure(row, network.files, connections, given.seconds, rate))
            for floor in floors.names if floors else ():
                name = row_name(network.name, precision, None, floor)
                if floors and not book.has(name, number):
                    book.add(name, floors.measure(floor))
            _say(f"{network.name} {precision}: round {number} of {given.rounds}")


def _write_page(book: Book) -> int:
    path = book.path.with_suffix(".md")
    path.write_text(page(book))
    print(f"wrote {path}", flush=True)
    return 0


_STARTED = time.monotonic()


def _say(text: str) -> None:
    print(f"[{time.monotonic() - _STARTED:6.1f} s] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
