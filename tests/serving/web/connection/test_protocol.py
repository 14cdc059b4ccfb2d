"""The deadline on receiving, over real sockets: tiny where it must pass, an hour where it must not."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from serving.web.connection.caller import ClientConnection, caller_of
from serving.web.connection.protocol import DeadlineProtocol

CALLERS: list[ClientConnection] = []
REFUSED: list[int] = []

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer 200 without reading the body; `/wait` reads it first, and `/caller` waits for who asks to go."""
    if scope["path"] == "/caller" and (caller := caller_of(scope)):
        while caller.more_body:
            await receive()
        CALLERS.append(caller)
        while not caller.disconnected:
            await caller.message_event.wait()
            caller.message_event.clear()
        caller.message_event.set()
        return
    if scope["path"] == "/wait":
        while (await receive()).get("more_body"):
            pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def connected(
    receive_seconds: float, write_seconds: float = 3600, max_connections: int = 8
) -> AsyncIterator[tuple[Reader, Writer]]:
    config = uvicorn.Config(app, lifespan="off", log_config=None)
    state = ServerState()

    def connection() -> DeadlineProtocol:
        return DeadlineProtocol(
            receive_seconds=receive_seconds,
            write_seconds=write_seconds,
            max_connections=max_connections,
            refused=REFUSED.append,
            config=config,
            server_state=state,
            app_state={},
        )

    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        yield reader, writer
    finally:
        writer.close()
        server.close()


def over(receive_seconds: float, talk: Callable[[Reader, Writer], Awaitable[bytes]]) -> bytes:
    async def scenario() -> bytes:
        async with connected(receive_seconds) as (reader, writer), asyncio.timeout(10):
            return await talk(reader, writer)

    return asyncio.run(scenario())


async def send_and_wait_for_the_end(sent: bytes, reader: Reader, writer: Writer) -> bytes:
    writer.write(sent)
    received = b""
    with suppress(ConnectionResetError):  # cut off before it had read all that was sent
        while chunk := await reader.read(1024):
            received += chunk
    return received


def test_headers_that_never_end_are_cut_off() -> None:
    assert over(0.01, partial(send_and_wait_for_the_end, b"GET / HTTP/1.1\r\nHo")) == b""


def test_a_connection_that_says_nothing_is_cut_off() -> None:
    assert over(0.01, partial(send_and_wait_for_the_end, b"")) == b""


def test_empty_lines_do_not_count_as_a_request() -> None:
    assert over(0.01, partial(send_and_wait_for_the_end, b"\r\n\r\n")) == b""


def test_the_rest_of_a_body_that_was_answered_unread_is_cut_off() -> None:
    request = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc"
    assert over(0.01, partial(send_and_wait_for_the_end, request)).startswith(b"HTTP/1.1 200 OK")


def test_the_app_is_given_its_own_time_and_connections_are_kept() -> None:
    async def talk(reader: Reader, writer: Writer) -> bytes:
        answers = b""
        for _ in range(2):
            writer.write(b"POST /wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nab")
            await asyncio.sleep(0)
            writer.write(b"cd")
            answers += await reader.readuntil(b"\r\n\r\n")
        return answers

    assert over(3600, talk).count(b"HTTP/1.1 200 OK") == 2


def test_the_app_is_told_who_waits() -> None:
    async def talk(reader: Reader, writer: Writer) -> bytes:
        writer.write(b"POST /caller HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nabcd")
        await until(lambda: bool(CALLERS))
        assert not CALLERS[0].more_body
        writer.close()
        await until(lambda: CALLERS[0].disconnected)
        assert CALLERS[0].message_event.is_set()
        return b""

    CALLERS.clear()
    over(3600, talk)


def test_an_answer_to_head_is_not_held_back() -> None:
    async def talk(reader: Reader, writer: Writer) -> bytes:
        writer.write(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return await reader.readuntil(b"\r\n\r\n")

    assert over(3600, talk).startswith(b"HTTP/1.1 200 OK")


def test_who_waits_for_leave_to_send_gets_it() -> None:
    async def talk(reader: Reader, writer: Writer) -> bytes:
        writer.write(
            b"POST /wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        )
        leave = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"abcd")
        return leave + await reader.readuntil(b"\r\n\r\n")

    answers = over(3600, talk)
    assert answers.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


def test_what_is_not_http_is_a_problem() -> None:
    head, body = over(3600, partial(send_and_wait_for_the_end, b"garbage\r\n\r\n")).split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 400")
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == 400
