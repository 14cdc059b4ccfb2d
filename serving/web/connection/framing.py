"""Checks of a request's head, before anything else of the request is read.

Two readers of one connection, a proxy and this server, must agree where each request ends (RFC 9112, section
11.2). Where a head leaves room for doubt, the request is refused and the connection closed.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

Headers = Iterable[tuple[bytes, bytes]]
"""Names in lower case, and values."""

MAX_HEAD_BYTES = 64 * 1024
"""The most bytes of a request that are not its body: request line, headers, chunk sizes, trailers."""
MAX_HEADERS = 100
"""The most headers, trailers included."""
MAX_PIPELINED = 16
"""The most requests that may wait on a connection while one is answered."""

_OFFER = {b"upgrade", b"http2-settings"}
_IS_HOST = re.compile(rb"[!$&'()*+\-.0-9:=A-Z\[\]_a-z~]*").fullmatch


@dataclass(frozen=True)
class Refusal:
    """A status, and what was expected and found."""

    status: int
    detail: str


TOO_LARGE = Refusal(
    431,
    f"expected at most {MAX_HEADERS} headers and {MAX_HEAD_BYTES} bytes besides the body in one request, "
    "found more",
)
NOT_HTTP = Refusal(400, "expected an HTTP/1.1 request, found bytes that are none")


def refusal_of(version: str, headers: Headers) -> Refusal | None:
    """Say why a head cannot be trusted; None where it can.

    Args:
        version: of HTTP: `1.0` or `1.1`.
        headers: as they came.
    """
    by_name: dict[bytes, list[bytes]] = {b"host": [], b"transfer-encoding": [], b"content-length": []}
    for name, value in headers:
        if name in by_name:
            by_name[name].append(value.strip())
    hosts, codings, lengths = by_name.values()
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        return Refusal(400, f"expected one Host header, found {len(hosts)}")
    if hosts and not is_host(hosts[0]):
        return Refusal(400, "expected a host name and perhaps a port as Host, found something else")
    if codings and (version != "1.1" or [coding.lower() for coding in codings] != [b"chunked"]):
        return Refusal(501, "expected no Transfer-Encoding, or chunked alone, in HTTP/1.1")
    if len(lengths) + len(codings) > 1:
        return Refusal(400, "expected one Content-Length or one Transfer-Encoding, found more")
    return None


def is_host(value: bytes) -> bool:
    """Whether a Host header is a name or an address, perhaps with a port, and nothing else."""
    return _IS_HOST(value) is not None


def host_name(value: bytes) -> str:
    """Return the name in a Host header, in lower case, without its port and a trailing dot.

    >>> host_name(b"Example.com:8000"), host_name(b"[::1]:80"), host_name(b"localhost.")
    ('example.com', '::1', 'localhost')
    """
    text = value.decode("latin-1").strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    name, colon, port = text.rpartition(":")
    return (name if colon and (port.isdigit() or not port) else text).removesuffix(".")


def without_offer(method: bytes, url: bytes, version: str, headers: Headers) -> bytes:
    """Write a request's head again, without the offer to speak another protocol.

    A server may ignore such an offer (RFC 9110, section 7.8); the request is then one like any other.

    Args:
        method: of the request.
        url: as it came.
        version: of HTTP: `1.0` or `1.1`.
        headers: as they came; their values hold no line ends.
    """
    lines = [method + b" " + url + b" HTTP/" + version.encode()]
    for name, value in headers:
        if name in _OFFER:
            continue
        if name == b"connection":
            value = b", ".join(  # noqa: PLW2901 - what is left of it
                option for option in value.split(b",") if option.strip().lower() not in _OFFER
            ).strip()
            if not value:
                continue
        lines.append(name + b": " + value)
    return b"\r\n".join([*lines, b"", b""])
