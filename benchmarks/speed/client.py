"""A small HTTP client over one kept connection, which adds as little to a measured time as Python can."""

import http.client
import io
import json
import socket
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image


@dataclass(frozen=True)
class Reply:
    """One answer, and how long it took from the first byte out to the last byte in."""

    status: int
    body: bytes
    seconds: float

    @property
    def exits(self) -> list[int]:
        """Where its images left, from 1."""
        document = json.loads(self.body)
        return [answer["exit"] for answer in document.get("results", [document])]


def request_bytes(path: str, body: bytes, content_type: str = "image/png") -> bytes:
    """One POST, ready to be written."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def as_png(image: npt.NDArray[np.uint8]) -> bytes:
    """One image, uint8 [H, W, 3], as a file."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def length_of(head: bytes) -> int:
    """The Content-Length that an answer's headers state."""
    _, found, rest = head.lower().partition(b"content-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


class Connection:
    """One connection that is used by one thread.

    Args:
        port: of 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, request: bytes) -> Reply:
        """Send a request and wait for its answer."""
        started = time.perf_counter()
        self._socket.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._more()
        head, _, body = received.partition(b"\r\n\r\n")
        while len(body) < length_of(head):
            body += self._more()
        seconds = time.perf_counter() - started
        return Reply(int(head[9:12]), body, seconds)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _more(self) -> bytes:
        chunk = self._socket.recv(65536)
        if not chunk:
            raise http.client.IncompleteRead(b"", None)
        return chunk


def wait_for_answer(port: int, request: bytes, seconds: float = 60.0) -> None:
    """Ask until the server answers 200: some accept connections before they have loaded their model.

    Raises:
        RuntimeError: it does not in that time.
    """
    until = time.monotonic() + seconds
    seen = "no answer"
    while time.monotonic() < until:
        try:
            connection = Connection(port)
            try:
                reply = connection.send(request)
            finally:
                connection.close()
            if reply.status == 200:
                return
            seen = f"{reply.status} {reply.body[:200]!r}"
        except (OSError, http.client.HTTPException, ValueError) as error:
            seen = str(error)
        time.sleep(0.2)
    raise RuntimeError(f"the server on port {port} did not answer in {seconds:g} s: {seen}")
