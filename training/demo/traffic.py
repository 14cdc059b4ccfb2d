"""Images sent to a server by several connections at once, and what came back, summed up."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx
import numpy as np

from training.errors import DemoError


@dataclass(frozen=True)
class Reply:
    """The answer to one image: class index, exit (from 1), FLOPs spent, and the seconds its request took."""

    class_index: int
    exit: int
    flops: int
    seconds: float


@dataclass(frozen=True)
class Summary:
    """The replies to one budget: FLOPs per image, accuracy and shares in 0..1, latencies in milliseconds."""

    budget_flops: float
    mean_flops: float
    accuracy: float
    shares: tuple[float, ...]
    p50_ms: float
    p99_ms: float


async def send(
    client: httpx.AsyncClient,
    bodies: Sequence[bytes],
    budget: str,
    connections: int,
    on_reply: Callable[[], None],
) -> list[Reply]:
    """Ask for every image under one budget and return the replies in the images' order.

    Args:
        client: its base address is the server's.
        bodies: PNG files.
        budget: as a user writes it, such as "1.5MFLOPs".
        connections: how many requests are under way at once.
        on_reply: called after each reply.

    Raises:
        DemoError: an answer other than 200, or none.
    """
    replies: dict[int, Reply] = {}
    waiting = iter(enumerate(bodies))

    async def connection() -> None:
        for index, body in waiting:  # one iterator for all: each takes the next image when it is free
            replies[index] = await _ask(client, body, budget)
            on_reply()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(connections):
                group.create_task(connection())
    except* DemoError as errors:
        raise errors.exceptions[0] from None
    return [replies[index] for index in range(len(bodies))]


def summarise(budget_flops: float, replies: Sequence[Reply], labels: Sequence[int], exits: int) -> Summary:
    """Sum up what the images with these labels got.

    Args:
        budget_flops: what was asked for, per image.
        replies: one for each image.
        labels: the true class of each.
        exits: how many exits the model has.
    """
    right = [reply.class_index == label for reply, label in zip(replies, labels, strict=True)]
    taken = np.bincount([reply.exit - 1 for reply in replies], minlength=exits)
    p50, p99 = np.percentile([reply.seconds * 1e3 for reply in replies], [50, 99])
    return Summary(
        budget_flops=budget_flops,
        mean_flops=float(np.mean([reply.flops for reply in replies])),
        accuracy=float(np.mean(right)),
        shares=tuple(float(share) for share in taken / len(replies)),
        p50_ms=float(p50),
        p99_ms=float(p99),
    )


async def _ask(client: httpx.AsyncClient, body: bytes, budget: str) -> Reply:
    begun = time.perf_counter()
    try:
        response = await client.post(
            "/classify", params={"budget": budget}, content=body, headers={"content-type": "image/png"}
        )
    except httpx.HTTPError as error:
        raise DemoError(f"no answer from {client.base_url}: {error!r}") from error
    seconds = time.perf_counter() - begun
    if response.status_code != httpx.codes.OK:
        raise DemoError(
            f"expected the answer 200 to a test image, found {response.status_code}: {response.text}"
        )
    answer = response.json()
    return Reply(answer["class_index"], answer["exit"], answer["flops"], seconds)
