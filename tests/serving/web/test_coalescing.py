"""Heads wait for their bodies, and for nothing else."""

import asyncio
from typing import cast

from serving.web.connection.protocol import CoalescingTransport


class Pipe:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def joined() -> tuple[Pipe, CoalescingTransport]:
    pipe = Pipe()
    return pipe, CoalescingTransport(cast("asyncio.Transport", pipe))


def test_the_head_goes_with_the_first_piece_of_the_body() -> None:
    pipe, response = joined()
    response.write(b"HTTP/1.1 200 OK\r\n\r\n")
    assert pipe.written == []
    response.write(b"{")
    response.write(b"}")
    assert pipe.written == [b"HTTP/1.1 200 OK\r\n\r\n{", b"}"]


def test_an_empty_body_sends_the_head() -> None:
    pipe, response = joined()
    response.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    response.write(b"")
    assert pipe.written == [b"HTTP/1.1 204 No Content\r\n\r\n"]


def test_leave_to_go_on_is_given_at_once() -> None:
    pipe, response = joined()
    response.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert pipe.written == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    response.write(b"HTTP/1.1 200 OK\r\n\r\n")
    response.write(b"body")
    assert pipe.written[1:] == [b"HTTP/1.1 200 OK\r\n\r\nbody"]


def test_what_is_held_goes_out_before_the_end() -> None:
    pipe, response = joined()
    response.write(b"HTTP/1.1 500 Internal Server Error\r\n\r\n")
    assert not response.is_closing()
    response.close()
    assert pipe.written == [b"HTTP/1.1 500 Internal Server Error\r\n\r\n"]
    assert pipe.closed
    assert response.is_closing()
