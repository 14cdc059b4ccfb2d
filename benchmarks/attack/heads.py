"""Kind 2: what a connection may bring: heads, trailers, chunk extensions, pipelined requests."""

import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from benchmarks.attack import nets
from benchmarks.attack.finding import Finding, at_most, is_in
from benchmarks.attack.target import Target, serving

_BYTES = 24_000_000
_PIECE = 1_000_000


def attack() -> Iterator[Finding]:
    """Send what has no end, and see what it costs until the server stops it."""
    post = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    chunked = post + b"Transfer-Encoding: chunked\r\n\r\n"
    many = b"".join(b"a%d: b\r\n" % number for number in range(50_000)) * 3
    kinds: dict[str, tuple[bytes, bytes]] = {
        "one header": (post + b"a: ", b"b" * _PIECE),
        "headers": (post, many[:_PIECE]),
        "a URL": (b"GET /", b"b" * _PIECE),
        "chunk extensions": (chunked, b"1;" + b"e" * 60_000 + b"\r\nx\r\n"),
        "trailers": (chunked + b"1\r\nx\r\n0\r\n", many[:_PIECE]),
        "pipelined requests": (b"", b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20_000),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, (start, more) in kinds.items():
            with serving(nets.tiny(Path(folder) / name.replace(" ", "-"))) as target:
                yield from _endless(target, name, start, more)
                yield is_in(f"{name}: others are answered", target.ask("/classify", nets.png())[0], (200,))
        with serving(nets.tiny(Path(folder) / "statuses")) as target:
            head = b"GET /models HTTP/1.1\r\nHost: localhost\r\n"
            yield _status(target, "101 headers", [head, b"a: b\r\n" * 100, b"\r\n"])
            yield _status(target, "a header of 70 KB", [head, b"a: ", b"b" * 70_000, b"\r\n\r\n"])
            yield _status(
                target, "a URL of 70 KB", [b"GET /?", b"b" * 70_000, b" HTTP/1.1\r\nHost: localhost\r\n\r\n"]
            )
            yield _status(
                target,
                "a query of 2 KB",
                [b"GET /models/tiny/plan?budget=", b"1" * 2048, b" HTTP/1.1\r\nHost: localhost\r\n\r\n"],
            )


def _endless(target: Target, name: str, start: bytes, more: bytes) -> Iterator[Finding]:
    before = target.forget_peak()
    used, sent = target.cpu_seconds(), 0
    with target.connect(timeout=3) as connection, suppress(OSError):
        connection.sendall(start)
        until = time.monotonic() + 10
        while sent < _BYTES and time.monotonic() < until:
            connection.sendall(more)
            sent += len(more)
    time.sleep(0.3)
    yield at_most(f"{name} without end: memory at its peak", target.memory_mb("VmHWM") - before, 25, "MB")
    yield at_most(f"{name} without end: processor time", target.cpu_seconds() - used, 0.5, "s")


def _status(target: Target, name: str, parts: Iterable[bytes]) -> Finding:
    answer = target.raw(b"".join(parts), timeout=1.0)
    return is_in(f"{name}: status", answer[9:12].decode() or "no answer", ("414", "431"))
