"""A round of load sends what it was given, once each, over the connections it was given."""

import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.speed.client import request_bytes
from benchmarks.speed.closed_loop import send_all


class Server(ThreadingHTTPServer):
    """Answers with the status that a body names, and counts bodies and connections."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: Counter[bytes] = Counter()
        self.connections: set[object] = set()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies[body[:10]] += 1
        self.server.connections.add(self.client_address)
        if body.startswith(b"hang up"):
            self.close_connection = True
            return
        self.send_response(500 if body.startswith(b"fail") else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def requests(*bodies: bytes) -> list[bytes]:
    return [request_bytes("/classify", body, "image/jpeg") for body in bodies]


def test_every_request_is_sent_as_often_as_the_others_over_kept_connections(server: Server) -> None:
    large = b"c" * 3_000_000  # more than a socket takes at once
    found = send_all(server.server_address[1], requests(b"a", b"b", large), 12, 4)
    assert server.bodies == {b"a": 4, b"b": 4, b"c" * 10: 4}
    assert len(server.connections) == 4
    assert (len(found.latencies), found.failed) == (12, 0)
    assert found.rate == 12 / found.seconds > 0
    assert max(found.latencies) <= found.seconds


def test_failures_are_counted_and_no_answers(server: Server) -> None:
    found = send_all(server.server_address[1], requests(b"a", b"fail"), 6, 2)
    assert (len(found.latencies), found.failed) == (3, 3)


def test_a_hang_up_is_a_failure(server: Server) -> None:
    found = send_all(server.server_address[1], requests(b"a", b"hang up"), 2, 1)
    assert (len(found.latencies), found.failed) == (1, 1)
