"""A fixed number of requests over fixed connections, each of which sends its next one after an answer.

wrk ends by the clock, with requests under way. Here every round sends the same pictures and waits for all of
them, so that the server's processor time divides by the requests that it was spent on, also where an answer
takes seconds.
"""

import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from .client import length_of

_SILENCE_SECONDS = 120.0
_CHUNK = 1 << 16
_HUNG_UP = 0


@dataclass(frozen=True)
class Answers:
    """The result of one round.

    Args:
        seconds: from the first request to the last answer.
        latencies: of each answer, in seconds.
        failed: answers with another status than 200, and connections that broke.
    """

    seconds: float
    latencies: list[float]
    failed: int

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds


@dataclass
class _Client:
    connection: socket.socket
    left: memoryview = field(default_factory=lambda: memoryview(b""))
    received: bytes = b""
    sent_at: float = 0.0


def send_all(port: int, requests: Sequence[bytes], total: int, connections: int) -> Answers:
    """Send requests and wait for every answer.

    Args:
        port: of 127.0.0.1.
        requests: taken in turn, from the first one.
        total: how many to send.
        connections: how many are under way at a time.

    Raises:
        RuntimeError: nothing came for two minutes.
    """
    clients = [_Client(_connected(port)) for _ in range(min(connections, total))]
    with selectors.DefaultSelector() as selector:
        return _Round(selector, (requests[number % len(requests)] for number in range(total))).run(clients)


class _Round:
    """The state of one round.

    Args:
        selector: of the connections.
        requests: all of the round's.
    """

    def __init__(self, selector: selectors.BaseSelector, requests: Iterator[bytes]) -> None:
        self._selector, self._requests = selector, requests
        self._latencies: list[float] = []
        self._failed = 0

    def run(self, clients: Sequence[_Client]) -> Answers:
        """Send and receive until nothing is under way."""
        started = time.perf_counter()
        for client in clients:
            self._selector.register(client.connection, selectors.EVENT_READ, client)
            self._ask(client)
        while self._selector.get_map():
            ready = self._selector.select(_SILENCE_SECONDS)
            if not ready:
                raise RuntimeError(f"no answer for {_SILENCE_SECONDS:g} s")
            for key, events in ready:
                if events & selectors.EVENT_WRITE:
                    self._push(key.data)
                if events & selectors.EVENT_READ:
                    self._read(key.data)
        return Answers(time.perf_counter() - started, self._latencies, self._failed)

    def _ask(self, client: _Client) -> None:
        request = next(self._requests, None)
        if request is None:
            self._hang_up(client)
            return
        client.left, client.received, client.sent_at = memoryview(request), b"", time.perf_counter()
        self._push(client)

    def _push(self, client: _Client) -> None:
        """Write what the socket takes, and wait for it to take the rest."""
        while client.left:
            try:
                sent = client.connection.send(client.left)
            except BlockingIOError:
                break
            except OSError:  # an early answer, or a hang-up, is there to be read
                client.left = memoryview(b"")
                break
            client.left = client.left[sent:]
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.left else 0)
        if self._selector.get_key(client.connection).events != events:
            self._selector.modify(client.connection, events, client)

    def _read(self, client: _Client) -> None:
        status = _status(client)
        if status is None:
            return
        if status == HTTPStatus.OK:
            self._latencies.append(time.perf_counter() - client.sent_at)
        else:
            self._failed += 1
        if status == _HUNG_UP:
            self._hang_up(client)
        else:
            self._ask(client)

    def _hang_up(self, client: _Client) -> None:
        self._selector.unregister(client.connection)
        client.connection.close()


def _connected(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setblocking(False)
    return connection


def _status(client: _Client) -> int | None:
    """Read what is there; the status once the answer is whole, `_HUNG_UP` for none, None before."""
    try:
        chunk = client.connection.recv(_CHUNK)
    except BlockingIOError:
        return None
    except OSError:
        return _HUNG_UP
    if not chunk:
        return _HUNG_UP
    client.received += chunk
    head, ended, body = client.received.partition(b"\r\n\r\n")
    if not ended or len(body) < length_of(head):
        return None
    return int(head[9:12])
