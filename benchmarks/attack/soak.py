"""Many mixed requests to one server: does anything grow, and is it as quick at the end as at the start?

    python -m benchmarks.attack.soak                       20,000 requests, about half a minute
    python -m benchmarks.attack.soak --requests 1000000    the long one

Good requests, bad ones, lists, every parameter, thousands of different budgets, and callers that leave.
Prints resident memory, descriptors, threads, the size of /metrics and the time of a single image after a
tenth of the requests and at the end; ends with code 1 where something grew by more than chance explains, or a
request ended in a server's fault. Loopback only.
"""

import argparse
import asyncio
import base64
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.attack import nets
from benchmarks.attack.target import Target, serving
from benchmarks.speed.processes import family_cpu_seconds

_CONNECTIONS = 16
_PROBES = 300
_GROWTH = {"MB resident": 60.0, "descriptors": 8.0, "threads": 2.0, "bytes of /metrics": 8_000.0}


@dataclass(frozen=True)
class Sent:
    """One request: its path, its body if it has one, and whether its caller leaves without an answer."""

    path: str
    body: bytes | None = None
    content_type: str = "image/png"
    leaves: bool = False


def mix(draw: random.Random) -> Callable[[], Sent]:
    """Return what makes the next request."""
    images = [nets.png(1, seed) for seed in range(20)]
    lists = [nets.npy(size) for size in (1, 3, 8, 20)]
    encoded = [base64.b64encode(image).decode() for image in images]
    listed = [json.dumps({"images": encoded[:size]}).encode() for size in (1, 4, 9)]
    bad_bodies = (b"", b"GIF89a", images[0][:50], b"{", b'{"images":[7]}', lists[0][:40])
    bad_queries = (
        "buget=1",
        "budget=1!",
        "budget=1%25",
        "max_drop=2",
        "mode=x",
        "model=nobody",
        "budget=1&budget=2",
    )
    paths = ("/models", "/models/tiny", "/models/tiny/health", "/v2/health/ready", "/metrics", "/nowhere")

    def request() -> Sent:
        good = "/classify" + query(draw)
        types = ("image/png", "application/json", "application/x-npy", "text/plain")
        kinds: dict[int, Callable[[], Sent]] = {
            60: lambda: Sent(good, draw.choice(images)),
            10: lambda: Sent(good, draw.choice(lists), "application/x-npy"),
            8: lambda: Sent(good, draw.choice(listed), "application/json"),
            7: lambda: Sent(good, draw.choice(images), leaves=True),
            5: lambda: Sent("/classify", draw.choice(bad_bodies), draw.choice(types)),
            4: lambda: Sent("/classify?" + draw.choice(bad_queries), draw.choice(images)),
            3: lambda: Sent(f"/models/tiny/plan?budget={draw.uniform(15, 100):.3f}%25"),
            2: lambda: Sent(draw.choice(paths)),
        }
        return draw.choices(list(kinds.values()), list(kinds))[0]()

    return request


def query(draw: random.Random) -> str:
    """Return what a good request asks for: one of thousands of budgets, mostly."""
    budget = draw.choice((f"{draw.uniform(15, 100):.4f}%25", f"{draw.randint(1000, 7000)}", "50%25"))
    asked = (
        f"?budget={budget}",
        f"?budget={budget}&mode=hard",
        f"?budget={budget}&deadline_ms={draw.choice((1, 50, 5000))}",
        f"?max_drop={draw.choice((0.05, 0.1, 0.2, 0.4))}",
        "",
    )
    return draw.choices(asked, (60, 10, 10, 5, 15))[0]


async def send(target: Target, requests: int, make: Callable[[], Sent]) -> Counter[str]:
    """Send so many requests over a few connections; return how many there were of each status."""
    left, statuses = requests, Counter[str]()

    async def one_connection() -> None:
        nonlocal left
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
        while left > 0:
            left -= 1
            sent = make()
            status, keeps = "left", False
            try:
                writer.write(_bytes(sent))
                if not sent.leaves:
                    status, keeps = await asyncio.wait_for(_answer(reader), 60)
            except (ConnectionError, asyncio.IncompleteReadError):
                status = "cut off"
            statuses[status] += 1
            if not keeps:
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
        writer.close()

    await asyncio.gather(*(one_connection() for _ in range(_CONNECTIONS)))
    return statuses


def _bytes(sent: Sent) -> bytes:
    method = "GET" if sent.body is None else "POST"
    head = f"{method} {sent.path} HTTP/1.1\r\nHost: localhost\r\n"
    if sent.body is None:
        return f"{head}\r\n".encode()
    head += f"Content-Type: {sent.content_type}\r\nContent-Length: {len(sent.body)}\r\n\r\n"
    return head.encode() + sent.body


async def _answer(reader: asyncio.StreamReader) -> tuple[str, bool]:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
    await reader.readexactly(length)
    return head[9:12].decode(), b"connection: close" not in lines


def look(target: Target) -> dict[str, float]:
    """The memory of the process now, and the seconds of a single image."""
    took = []
    for _ in range(_PROBES):
        started = time.perf_counter()
        target.ask("/classify", nets.png())
        took.append(1000 * (time.perf_counter() - started))
    process = Path(f"/proc/{target.process.pid}")
    return {
        "MB resident": target.memory_mb(),
        "descriptors": len(list((process / "fd").iterdir())),
        "threads": len(list((process / "task").iterdir())),
        "bytes of /metrics": len(target.ask("/metrics")[1]),
        "ms for an image, median": statistics.median(took),
        "ms for an image, 99%": statistics.quantiles(took, n=100)[-1],
    }


@dataclass(frozen=True)
class Soaked:
    """What a server was like after a tenth of the requests, and at the end.

    Args:
        first: by name, after the first tenth; rates are of that tenth.
        last: likewise, of the last tenth.
        statuses: how many answers there were of each.
        seconds: the whole took.
    """

    first: dict[str, float]
    last: dict[str, float]
    statuses: Counter[str]
    seconds: float

    @property
    def grown(self) -> list[str]:
        """What grew by more than chance explains."""
        return [name for name, allowed in _GROWTH.items() if self.last[name] - self.first[name] > allowed]

    @property
    def faults(self) -> int:
        """Answers that were the server's fault."""
        return sum(
            count for status, count in self.statuses.items() if status.startswith("5") and status != "504"
        )

    @property
    def fine(self) -> bool:
        """Whether nothing grew and nothing failed."""
        return not (self.grown or self.faults or self.statuses["cut off"])


def soak(requests: int, seed: int = 0) -> Soaked:
    """Send mixed requests to a server of its own, in ten parts."""
    make = mix(random.Random(seed))
    with tempfile.TemporaryDirectory() as folder, serving(nets.tiny(Path(folder))) as target:
        started = time.monotonic()
        statuses: Counter[str] = Counter()
        looks = []
        for part in range(10):
            found, costs = _part(target, requests // 10, make)
            statuses += found
            if part in (0, 9):
                looks.append({**costs, **look(target)})
            with suppress(OSError):
                print(f"{sum(statuses.values()):9,} requests, {target.memory_mb():.1f} MB", flush=True)
        return Soaked(looks[0], looks[1], statuses, time.monotonic() - started)


def _part(target: Target, requests: int, make: Callable[[], Sent]) -> tuple[Counter[str], dict[str, float]]:
    """Send a part; return its statuses, its rate and the server's processor time for a request."""
    began, used = time.perf_counter(), family_cpu_seconds(target.process.pid)
    statuses = asyncio.run(send(target, requests, make))
    seconds = time.perf_counter() - began
    used = family_cpu_seconds(target.process.pid) - used
    return statuses, {"requests/s": requests / seconds, "processor ms a request": 1e3 * used / requests}


def main() -> int:
    """Soak, print and judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found = soak(given.requests, given.seed)
    print("\n| | after a tenth | at the end |\n|---|---|---|")
    for name, value in found.first.items():
        print(f"| {name} | {value:.2f} | {found.last[name]:.2f} |")
    print(f"\n{dict(found.statuses)} in {found.seconds:.0f} s")
    print(f"grew too much: {', '.join(found.grown) or 'nothing'}; faults of the server: {found.faults}")
    return int(not found.fine)


if __name__ == "__main__":
    sys.exit(main())
