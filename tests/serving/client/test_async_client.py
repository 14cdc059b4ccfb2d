"""The client for asyncio: the same requests, retries and errors, and a cancelled call drops its request."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import httpx
import pytest

from serving.client import AsyncClient, Client, NoAnswerError, ResponseError
from tests.bundles import EXIT_FLOPS, tiny_images
from tests.serving.client.talking import KEY, Script, Step, Time, answered, between, refused

T = TypeVar("T")


def scripted(*steps: Step) -> tuple[AsyncClient, Script, Time]:
    script, time = Script(*steps), Time()
    client = AsyncClient(
        "http://server", transport=httpx.MockTransport(script), clock=time, sleep=time.sleep_async
    )
    return client, script, time


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


def test_it_has_the_methods_of_the_other() -> None:
    names = {name for name in dir(Client) if not name.startswith("_")} - {"close"}
    assert names == {name for name in dir(AsyncClient) if not name.startswith("_")} - {"aclose"}


def test_a_full_queue_is_waited_for() -> None:
    client, script, time = scripted(refused(429, retry_after="2"), httpx.ConnectError(""), answered())
    (answer,) = run(client.classify(b"a file", "50%"))
    assert answer.class_name == "cat"
    assert {str(request.url) for request in script.requests} == {"http://server/classify?budget=50%25"}
    assert between(time.pauses, (2.0, 2.1), (0.0, 0.2))


def test_a_refusal_stands() -> None:
    client, _, time = scripted(refused(422))
    with pytest.raises(ResponseError, match=r"^422: not now$"):
        run(client.classify(b"a file"))
    assert time.pauses == []


def test_an_answer_that_trickles_ends_with_the_time() -> None:
    time = Time()

    async def drops() -> AsyncIterator[bytes]:
        while True:
            time.now += 16
            yield b" "

    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=drops()))
    client = AsyncClient("http://server", transport=transport, clock=time, sleep=time.sleep_async)
    with pytest.raises(NoAnswerError, match=r"^no answer within 30 s$"):
        run(client.classify(b"a file"))


def test_ready_asks_once() -> None:
    client, _, time = scripted(refused(503))
    assert run(client.ready()) is False
    assert time.pauses == []


def test_a_cancelled_call_ends() -> None:
    async def cancel() -> None:
        asked = asyncio.Event()

        async def never(_: httpx.Request) -> httpx.Response:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError

        async with AsyncClient("http://server", transport=httpx.MockTransport(never)) as client:
            task = asyncio.create_task(client.classify(b"a file"))
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(cancel())


def test_it_shows_its_address() -> None:
    assert repr(scripted()[0]) == "<AsyncClient 'http://server'>"


def test_a_real_server_answers_many_at_once(address: str) -> None:
    async def ask() -> None:
        async with AsyncClient(address, KEY) as client:
            lists = await asyncio.gather(*(client.classify(image, "100%") for image in tiny_images(8)))
            assert {answer.flops for answers in lists for answer in answers} == {EXIT_FLOPS[-1]}
            assert len({answers[0].request_id for answers in lists}) == 8
            assert (await client.models())[0].name == "tiny"
            assert (await client.plan("50%")).model == "tiny"
            assert (await client.label(lists[0][0].request_id, 0, "cat")).new == 1
            assert await client.ready()

    run(ask())
