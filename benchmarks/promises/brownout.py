"""What lower budgets are worth to a server that is asked for more than it can do, against refusing.

    python -m benchmarks.promises.brownout BUNDLE --out docs/benchmarks/brownout

A real server on the loopback, with test images of the bundle's data set, sent one by one. First its capacity
at the default budget: answers a second to a fixed number of callers who each wait for their answer. Then
Poisson arrivals at multiples of that, whatever becomes of them, to a server with brown-out and to one
without, in turns. All requests are of the class `normal`. Server and load share the machine's cores.

*Goodput* is right answers a second. *Right of all* counts a refused request as a wrong answer. Times are from
when a request was due, and of answers alone.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.reporting import command_line, opened, publish, table
from benchmarks.speed.client import as_png, length_of, request_bytes
from benchmarks.speed.open_loop import MAX_CONNECTIONS, poisson
from benchmarks.speed.ratios import percentile
from serving.bundle import Bundle, read_bundle
from training.demo.server import started_server, stop

CALLERS = 64
_CONNECTIONS = 4 * MAX_CONNECTIONS
_WARM_SECONDS = 2.0


@dataclass
class Load:
    """What came of a load."""

    labels: Sequence[int]
    answered: int = 0
    right: int = 0
    refused: int = 0
    seconds: list[float] = field(default_factory=list)
    budgets: list[float] = field(default_factory=list)

    def note(self, place: int, status: int, body: bytes, seconds: float) -> None:
        """Count one answer."""
        if status != 200:
            self.refused += 1
            return
        answer = json.loads(body)
        self.answered += 1
        self.right += answer["class_index"] == self.labels[place]
        self.seconds.append(seconds)
        self.budgets.append(answer["budget_flops"])

    def figures(self, seconds: float, failed: int, full_flops: float) -> dict[str, float]:
        """Sum it up; `failed` are those without an answer of status 200, unanswered ones among them."""
        asked = self.answered + failed
        return {
            "asked_per_second": asked / seconds,
            "answered_per_second": self.answered / seconds,
            "goodput_per_second": self.right / seconds,
            "refused": failed / asked,
            "accuracy": self.right / max(1, self.answered),
            "right_of_all": self.right / asked,
            "p50_ms": 1e3 * percentile(self.seconds, 0.5),
            "p99_ms": 1e3 * percentile(self.seconds, 0.99),
            "mean_budget": float(np.mean(self.budgets)) / full_flops,
        }


def requests_of(bundle: Bundle, data: str | None, count: int) -> tuple[list[bytes], list[int]]:
    """Return requests, one test image each, and their labels."""
    images: list[npt.NDArray[np.uint8]] = []
    labels: list[int] = []
    for batch in opened(bundle, data).test():
        images += list(batch.images.cpu().numpy())
        labels += batch.labels.tolist()
        if len(images) >= count:
            break
    return [request_bytes("/classify", as_png(image)) for image in images[:count]], labels[:count]


async def capacity(port: int, requests: Sequence[bytes], seconds: float) -> float:
    """Return answers a second to callers who wait."""
    done, until = 0, time.perf_counter() + seconds

    async def caller(first: int) -> None:
        nonlocal done
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        place = first
        while time.perf_counter() < until:
            writer.write(requests[place % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(length_of(head))
            done += 1
            place += CALLERS
        writer.close()

    await asyncio.gather(*(caller(number) for number in range(CALLERS)))
    return done / seconds


def measured(bundle: Bundle, given: Any) -> dict[str, Any]:
    """Measure the capacity, then both servers at each multiple of it, `given.rounds` times."""
    requests, labels = requests_of(bundle, given.data, given.images)
    full_flops = float(bundle.manifest.exit_flops[-1])
    capacities: list[float] = []
    lines: dict[tuple[float, str], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.rounds):
            for brownout in ("off", "on"):
                log = Path(folder, f"{number}-{brownout}.log")
                with started_server(given.bundle, log, "--brownout", brownout, "--drain-seconds", "0") as one:
                    asyncio.run(capacity(one.port, requests, _WARM_SECONDS))
                    if brownout == "off":
                        capacities.append(asyncio.run(capacity(one.port, requests, given.seconds / 2)))
                    for times in given.times:
                        load = Load(labels)
                        rate = times * capacities[-1]
                        seen = asyncio.run(
                            poisson(one.port, requests, rate, given.seconds, number, load.note, _CONNECTIONS)
                        )
                        found = load.figures(given.seconds, seen.failed, full_flops)
                        lines.setdefault((times, brownout), []).append(found)
                        asyncio.run(asyncio.sleep(given.rest_seconds))
                    stop(one.process, log)
    return {
        "bundle": bundle.name,
        "seconds": given.seconds,
        "rounds": given.rounds,
        "note": given.note,
        "capacity_per_second": capacities,
        "lines": [
            {"times": times, "brownout": brownout, **_median(found)}
            for (times, brownout), found in sorted(lines.items())
        ],
    }


def _median(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: float(np.median([each[key] for each in found])) for key in found[0]}


def as_markdown(results: dict[str, Any]) -> str:
    """Return the results as a page."""
    rows = [
        [
            f"{line['times']:g}×",
            line["brownout"],
            f"{line['asked_per_second']:.0f}",
            f"{line['answered_per_second']:.0f}",
            f"{line['refused']:.1%}",
            f"{line['goodput_per_second']:.0f}",
            f"{line['accuracy']:.2%}",
            f"{line['right_of_all']:.2%}",
            f"{line['mean_budget']:.0%}",
            f"{line['p50_ms']:.0f}",
            f"{line['p99_ms']:.0f}",
        ]
        for line in results["lines"]
    ]
    head = ["load", "brown-out", "asked /s", "answered /s", "refused", "goodput /s", "accuracy"]
    head += ["right of all", "mean budget", "p50 ms", "p99 ms"]
    capacities = ", ".join(f"{found:.0f}" for found in results["capacity_per_second"])
    lines = [
        f"# Brown-out: {results['bundle']}",
        "",
        *wrap(
            "A server on the loopback, asked with test images one by one: its capacity at the default budget "
            f"(100%) is {capacities} answers a second to {CALLERS} callers who wait. Then Poisson arrivals "
            f"at multiples of that for {results['seconds']:g} s each, median of {results['rounds']} rounds. "
            "Goodput is right answers a second; *right of all* counts a refused request as a wrong answer. "
            f"Server and load share the machine's cores. {results['note']}",
            118,
        ),
        "",
        *table(head, rows),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the benchmark and write its results; 1 where brown-out answers no more than refusing does."""
    parser = command_line(__doc__)
    parser.add_argument(
        "--times", type=float, nargs="+", default=[1.5, 2.0], help="multiples of the capacity"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load")
    parser.add_argument("--rest-seconds", type=float, default=5.0, help="between two loads")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=2_000, help="different test images that are sent")
    parser.add_argument("--note", default="", help="a sentence on the machine, for the page")
    given = parser.parse_args()
    results = measured(read_bundle(given.bundle), given)
    publish(given.out, results, as_markdown(results))
    goodput = {(line["times"], line["brownout"]): line["goodput_per_second"] for line in results["lines"]}
    return 0 if all(goodput[times, "on"] > goodput[times, "off"] for times in given.times) else 1


if __name__ == "__main__":
    sys.exit(main())
