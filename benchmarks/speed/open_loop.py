"""Load that does not wait for answers: Poisson arrivals at a rate, each timed from when it was due."""

import asyncio
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

from .client import length_of
from .ratios import percentile

MAX_CONNECTIONS = 512
MIN_ANSWERS = 200
"""Fewer answers of an exit say nothing about a 99th percentile."""


@dataclass
class Seen:
    """The result of a load: seconds of each answer by its exit, and the missing answers."""

    seconds: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    failed: int = 0

    @property
    def tails(self) -> dict[int, float]:
        """p99 over p50 of each exit with enough answers."""
        return {
            number: percentile(seconds, 0.99) / percentile(seconds, 0.5)
            for number, seconds in sorted(self.seconds.items())
            if len(seconds) >= MIN_ANSWERS
        }


class _Client(asyncio.Protocol):
    """One connection, on which one request at a time is under way."""

    def __init__(self) -> None:
        self._received = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, request: bytes) -> "asyncio.Future[tuple[int, bytes]]":
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if end and len(body) >= length_of(head) and self._answer is not None:
            self._received = b""
            self._answer.set_result((int(head[9:12]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("the server hung up"))

    def close(self) -> None:
        self._transport.close()


Note = Callable[[int, int, bytes, float], None]
"""Told of each answer: the place of its request among those given, status, body, seconds."""


async def poisson(
    port: int,
    requests: Sequence[bytes],
    rate: float,
    seconds: float,
    seed: int,
    note: Note | None = None,
    max_connections: int = MAX_CONNECTIONS,
) -> Seen:
    """Send requests at random moments, `rate` a second on average, whatever becomes of them.

    Args:
        port: of 127.0.0.1.
        requests: taken in turn.
        rate: requests a second.
        seconds: how long.
        seed: of the moments.
        note: told of each answer, whatever its status.
        max_connections: further requests count as failed.
    """
    loop, moments, seen = asyncio.get_running_loop(), random.Random(seed), Seen()
    free = [(await loop.create_connection(_Client, "127.0.0.1", port))[1] for _ in range(64)]
    connections = list(free)
    under_way: set[asyncio.Task[None]] = set()

    async def one(place: int, due: float) -> None:
        client = free.pop() if free else None
        if client is None and len(connections) < max_connections:
            client = (await loop.create_connection(_Client, "127.0.0.1", port))[1]
            connections.append(client)
        if client is None:
            seen.failed += 1
            return
        try:
            status, body = await client.ask(requests[place])
        except OSError:
            seen.failed += 1
            return
        took = time.perf_counter() - due
        free.append(client)
        if note is not None:
            note(place, status, body, took)
        if status == 200:
            seen.seconds[json.loads(body)["exit"]].append(took)
        else:
            seen.failed += 1

    due = start = time.perf_counter()
    number = 0
    while due < start + seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.create_task(one(number % len(requests), due))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        number += 1
        due += moments.expovariate(rate)
    if under_way:
        await asyncio.wait(under_way, timeout=30)
    for client in connections:
        client.close()
    return seen
