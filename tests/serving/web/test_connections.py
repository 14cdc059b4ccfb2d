"""What one connection may bring and how long it may take, over real sockets."""

import asyncio
import json
from contextlib import suppress
from functools import partial
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.web.connection.framing import MAX_HEADERS, MAX_PIPELINED
from tests.serving.web.connection.test_protocol import (
    CALLERS,
    REFUSED,
    Reader,
    Writer,
    connected,
    over,
    send_and_wait_for_the_end,
    until,
)

HOST = b"Host: localhost\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
LAST = b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"


def answers(sent: bytes) -> list[bytes]:
    """The status lines that come back until the connection ends."""
    received = over(3600, partial(send_and_wait_for_the_end, sent))
    return [line.split(b" ")[1] for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\n" + HOST + b"a: b\r\n" * MAX_HEADERS + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"a: " + b"b" * 70_000 + b"\r\n\r\n", b"431"),
        (b"GET /" + b"b" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", b"431"),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", b"501"),
    ],
)
def test_heads_that_are_refused_are_told_why_and_counted(sent: bytes, status: bytes) -> None:
    REFUSED.clear()
    assert answers(sent) == [status]
    assert [int(status)] == REFUSED


def test_a_refusal_waits_for_the_answers_before_it() -> None:
    assert answers(GET * 3 + b"nonsense\r\n\r\n") == [b"200", b"200", b"200", b"400"]


@pytest.mark.parametrize(
    "tail",
    [
        (b"1;" + b"e" * 60_000 + b"\r\nx\r\n") * 3,
        b"1\r\nx\r\n0\r\n" + b"a: b\r\n" * (MAX_HEADERS + 1),
        b"1\r\nx\r\n" * 6_000,
    ],
)
def test_chunk_extensions_trailers_and_tiny_chunks_are_bounded(tail: bytes) -> None:
    """The app waits for the body: it is told that there will be none, and the caller why."""
    head = b"POST /wait HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    assert answers(head + tail)[-1:] in ([b"431"], [b"400"])


def test_pipelined_requests_are_answered_up_to_a_number() -> None:
    assert answers(GET * 4 + LAST) == [b"200"] * 5
    assert len(answers(GET * 1000)) == 1 + MAX_PIPELINED


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 4\r\n\r\nabcd", b"Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"]
)
def test_an_offer_of_another_protocol_changes_nothing(framing: bytes) -> None:
    request = b"POST /wait HTTP/1.1\r\n" + HOST + UPGRADE + framing
    assert answers(request + request + LAST) == [b"200", b"200", b"200"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=12))
def test_however_a_stream_is_cut_its_requests_are_the_same(cuts: list[int]) -> None:
    """Where one packet ends and the next begins decides nothing: not how many requests, nor their answers."""
    body = b"POST /wait HTTP/1.1\r\n" + HOST + UPGRADE + b"Content-Length: 4\r\n\r\nGET "
    stream = body + GET + body + LAST

    async def talk(reader: Reader, writer: Writer) -> bytes:
        place = 0
        for size in cuts:
            writer.write(stream[place : place + size])
            place += size
            await asyncio.sleep(0)
        writer.write(stream[place:])
        return await reader.read(-1)

    assert over(3600, talk).count(b"HTTP/1.1 200 OK") == 4


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", b"GET ", b"POST /wait HTTP/1.1\r\nHost: a\r\n", GET]))
def test_any_bytes_are_answered_or_cut_off(data: bytes, start: bytes) -> None:
    """Whatever bytes come, every answer is a whole one, and the connection ends when its caller is done."""

    async def talk(reader: Reader, writer: Writer) -> bytes:
        writer.write(start + data)
        writer.write_eof()
        return await reader.read(-1)

    received = b""
    with suppress(ConnectionResetError):
        received = over(0.2, talk)
    assert received == b"" or received.startswith(b"HTTP/1.1 ")


def test_a_caller_that_sends_no_more_is_answered() -> None:
    async def talk(reader: Reader, writer: Writer) -> bytes:
        writer.write(b"POST /wait HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\nabcd")
        writer.write_eof()
        return await reader.read(-1)

    received = over(3600, talk)
    assert received.count(b"HTTP/1.1 200 OK") == 1


@pytest.mark.parametrize("size", [4, 300_000, 2_000_000])
def test_a_caller_that_hangs_up_is_noticed_whatever_it_sent(size: int) -> None:
    async def talk(reader: Reader, writer: Writer) -> bytes:
        head = b"POST /caller HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % size
        writer.write(head + bytes(size))
        await writer.drain()
        await until(lambda: bool(CALLERS))
        writer.close()
        await until(lambda: CALLERS[0].disconnected)
        return b""

    CALLERS.clear()
    over(3600, talk)


def test_a_caller_that_hangs_up_on_pipelined_requests_is_noticed_by_the_first() -> None:
    async def talk(reader: Reader, writer: Writer) -> bytes:
        writer.write((b"POST /caller HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\nabcd") * 3)
        await until(lambda: bool(CALLERS))
        writer.close()
        await until(lambda: CALLERS[0].disconnected)
        await asyncio.sleep(0)
        assert len(CALLERS) == 1  # the others never start
        return b""

    CALLERS.clear()
    over(3600, talk)


def test_an_answer_that_is_not_taken_is_given_up() -> None:
    async def scenario() -> None:
        async with connected(3600, write_seconds=0.05) as (_, writer), asyncio.timeout(20):
            cast("asyncio.Transport", writer.transport).pause_reading()
            with suppress(ConnectionError):
                while True:  # until the server lets go: nobody takes what it answers
                    writer.write(GET * 8)
                    await writer.drain()
                    await asyncio.sleep(0)

    asyncio.run(scenario())


def test_one_connection_too_many_is_told_so() -> None:
    async def scenario() -> bytes:
        async with connected(3600, max_connections=0) as (reader, _), asyncio.timeout(10):
            return await reader.read(-1)

    head, body = asyncio.run(scenario()).split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 503")
    assert "as many connections" in json.loads(body)["detail"]
