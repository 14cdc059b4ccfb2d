"""A server as a process of its own, and requests to it."""

import http.client
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from training.demo.server import started_server

PATIENCE_SECONDS = 60


@dataclass
class Running:
    process: "subprocess.Popen[bytes]"
    port: int
    models: Sequence[str]
    log: Path

    def ask(
        self, method: str, path: str, body: bytes | None = None, content_type: str = "image/png"
    ) -> tuple[int, bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, PATIENCE_SECONDS)) as connection:
            connection.request(method, path, body, {"Content-Type": content_type} if body else {})
            response = connection.getresponse()
            return response.status, response.read()

    def half_a_request(self, body: bytes) -> socket.socket:
        """Send the headers and half of the body; the server has them when it answers anything sent later."""
        connection = socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS)
        lines = (
            f"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}",
            "Content-Type: image/png",
        )
        connection.sendall("\r\n".join((*lines, "", "")).encode() + body[: len(body) // 2])
        assert self.ask("GET", "/v2/health/live")[0] == 200
        return connection

    def refuses(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS).close()
        except ConnectionRefusedError:
            return True
        return False


@contextmanager
def server(models: Path, *flags: str) -> Iterator[Running]:
    log = models.with_name(f"{models.name}.log")
    with started_server(models, log, "--threads", "1", *flags) as started:
        yield Running(started.process, started.port, started.models, log)
