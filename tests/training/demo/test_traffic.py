"""The demo's traffic, against a server that is a function: order, concurrency, failures, sums."""

import asyncio
import json

import httpx
import pytest

from training.demo.traffic import Reply, send, summarise
from training.errors import DemoError

BODIES = [bytes([index]) for index in range(7)]


def ask(handler: httpx.MockTransport, connections: int = 3) -> tuple[list[Reply], int]:
    async def go() -> tuple[list[Reply], int]:
        count = 0

        def on_reply() -> None:
            nonlocal count
            count += 1

        async with httpx.AsyncClient(base_url="http://server", transport=handler) as client:
            return await send(client, BODIES, "1.5MFLOPs", connections, on_reply), count

    return asyncio.run(go())


def test_every_image_is_asked_once_and_replies_come_in_order() -> None:
    asked: list[int] = []
    together = 0

    async def answer(request: httpx.Request) -> httpx.Response:
        nonlocal together
        assert dict(request.url.params) == {"budget": "1.5MFLOPs"}
        assert request.headers["content-type"] == "image/png"
        index = (await request.aread())[0]
        asked.append(index)
        together = max(together, len(asked) - done)
        await asyncio.sleep(0)  # lets the others in
        finish()
        return httpx.Response(200, json={"class_index": index, "exit": 2, "flops": 10 * index, "more": None})

    done = 0

    def finish() -> None:
        nonlocal done
        done += 1

    replies, counted = ask(httpx.MockTransport(answer))
    assert [reply.class_index for reply in replies] == list(range(7))
    assert [reply.flops for reply in replies] == [10 * index for index in range(7)]
    assert sorted(asked) == list(range(7))
    assert counted == 7
    assert together == 3


def test_an_answer_other_than_200_stops_the_traffic() -> None:
    problem = {"title": "unusable budget", "detail": "under the cheapest exit"}
    transport = httpx.MockTransport(lambda _: httpx.Response(422, text=json.dumps(problem)))
    with pytest.raises(DemoError, match=r"found 422: .*under the cheapest exit"):
        ask(transport)


def test_no_answer_stops_the_traffic() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(DemoError, match="no answer from http://server"):
        ask(httpx.MockTransport(refuse))


def test_replies_are_summed_up() -> None:
    replies = [Reply(1, 1, 100, 0.001), Reply(2, 1, 100, 0.002), Reply(3, 3, 400, 0.003)]
    summary = summarise(250.0, replies, [1, 2, 0], exits=3)
    assert summary.mean_flops == 200
    assert summary.accuracy == pytest.approx(2 / 3)
    assert summary.shares == pytest.approx((2 / 3, 0, 1 / 3))
    assert summary.p50_ms == pytest.approx(2)
    assert summary.p99_ms == pytest.approx(2.98)
