"""Kind 7: requests that offer to speak another protocol, as Java's HttpClient does with its first one."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.attack import nets
from benchmarks.attack.finding import Finding, is_in
from benchmarks.attack.target import Target, serving

_SMUGGLED = b"GET /v2/health/live HTTP/1.1\r\nHost: smuggled\r\n\r\n"


def attack() -> Iterator[Finding]:
    """Send a body behind an upgrade: it must be the body, never a request of its own."""
    with tempfile.TemporaryDirectory() as folder, serving(nets.tiny(Path(folder))) as target:
        for protocol in (b"h2c", b"websocket"):
            for connection in (b"Upgrade, HTTP2-Settings", b"keep-alive, Upgrade"):
                for framing in ("length", "chunked"):
                    yield _sent(target, protocol, connection, framing)
        yield _kept_apart(target)


def _head(protocol: bytes, connection: bytes) -> bytes:
    return (
        b"POST /classify HTTP/1.1\r\nHost: localhost\r\nConnection: "
        + connection
        + b"\r\nUpgrade: "
        + protocol
        + b"\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nContent-Type: image/png\r\n"
    )


def _framed(framing: str, body: bytes) -> bytes:
    if framing == "length":
        return b"Content-Length: %d\r\n\r\n" % len(body) + body
    return b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"


def _sent(target: Target, protocol: bytes, connection: bytes, framing: str) -> Finding:
    answer = target.raw(_head(protocol, connection) + _framed(framing, nets.png()), timeout=0.7)
    name = f"{protocol.decode()}, Connection: {connection.decode()}, {framing}"
    return is_in(name, answer[9:12].decode() or "no answer", ("200", "400", "501"))


def _kept_apart(target: Target) -> Finding:
    """A body that looks like a request: one answer, to one request."""
    answer = target.raw(_head(b"h2c", b"Upgrade") + _framed("length", _SMUGGLED), timeout=0.7)
    return is_in("answers to a body that looks like a request", answer.count(b"HTTP/1.1 "), (1,))
