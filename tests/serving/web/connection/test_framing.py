"""Heads that two readers could read in two ways are refused; an offer of another protocol is taken out."""

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.web.connection.framing import host_name, is_host, refusal_of, without_offer

HOST = (b"host", b"localhost")
TOKEN = st.text("abcdefgh-", min_size=1, max_size=8).map(str.encode)
VALUE = st.binary(max_size=20).map(lambda value: bytes(byte for byte in value if 0x20 < byte < 0x7F))


@pytest.mark.parametrize(
    ("version", "headers", "status"),
    [
        ("1.1", [HOST], None),
        ("1.0", [], None),
        ("1.1", [], 400),
        ("1.1", [HOST, HOST], 400),
        ("1.0", [HOST, HOST], 400),
        ("1.1", [(b"host", b"a, b")], 400),
        ("1.1", [(b"host", b"user@a")], 400),
        ("1.1", [(b"host", b"a/b")], 400),
        ("1.1", [(b"host", b"[::1]:8000")], None),
        ("1.1", [HOST, (b"transfer-encoding", b"chunked")], None),
        ("1.1", [HOST, (b"transfer-encoding", b" Chunked ")], None),
        ("1.1", [HOST, (b"transfer-encoding", b"gzip, chunked")], 501),
        ("1.1", [HOST, (b"transfer-encoding", b"identity")], 501),
        ("1.1", [HOST, (b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")], 501),
        ("1.0", [HOST, (b"transfer-encoding", b"chunked")], 501),
        ("1.1", [HOST, (b"transfer-encoding", b"chunked"), (b"content-length", b"5")], 400),
        ("1.1", [HOST, (b"content-length", b"5"), (b"content-length", b"5")], 400),
    ],
)
def test_heads_in_doubt(version: str, headers: list[tuple[bytes, bytes]], status: int | None) -> None:
    found = refusal_of(version, headers)
    assert (None if found is None else found.status) == status


@given(st.binary(max_size=50))
def test_any_host_is_refused_or_has_a_name(value: bytes) -> None:
    """Reading a Host never fails, and a name that is let through has no character that ends it elsewhere."""
    if is_host(value):
        assert not set(host_name(value)) & set(" /@,\\\r\n")


class _Seen:
    def __init__(self) -> None:
        self.url, self.headers, self.whole = b"", list[tuple[bytes, bytes]](), False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_message_complete(self) -> None:
        self.whole = True


@given(
    st.lists(st.tuples(TOKEN.map(lambda name: b"x-" + name), VALUE), max_size=5),
    st.sampled_from([b"Upgrade", b"a, upgrade", b"HTTP2-Settings,Upgrade , close"]),
)
def test_without_an_offer_all_else_is_read_as_before(
    headers: list[tuple[bytes, bytes]], connection: bytes
) -> None:
    """The same parser reads the rewritten head as the same request, less the offer, and no upgrade in it."""
    offered = [HOST, (b"connection", connection), (b"upgrade", b"h2c"), (b"http2-settings", b"AA"), *headers]
    head = without_offer(b"GET", b"/classify?budget=50%25", "1.1", offered)
    seen = _Seen()
    parser = httptools.HttpRequestParser(seen)
    parser.feed_data(head)
    assert seen.whole
    assert not parser.should_upgrade()
    assert seen.url == b"/classify?budget=50%25"
    kept = [header for header in seen.headers if header[0] != b"connection"]
    assert kept == [HOST, *((name, value.strip()) for name, value in headers)]
