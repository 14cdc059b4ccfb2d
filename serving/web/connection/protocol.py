"""uvicorn's HTTP protocol with limits: on what a connection may bring, and on how long it may take.

uvicorn waits for ever for a request that trickles in, for a caller that does not read, and keeps whatever
arrives. The app limits the size and the time of a body that it reads; here is the rest:

- A connection on which the app is not at work (the headers are not complete, or the answer went out before
  the body was read) is closed when nothing useful arrives in time, or when an answer is not taken in time.
- A request's head, chunk sizes and trailers are bounded; so are the requests that wait behind one.
- A head that two readers could read in two ways is refused (`serving.web.connection.framing`), and an offer
  to speak another protocol is ignored: the request is read as if it were not there.
- Reading goes on while a request is answered, so that a caller who hangs up is noticed.
- Responses go out in one piece.
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from serving.web.connection.caller import EXTENSION
from serving.web.connection.framing import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_PIPELINED,
    NOT_HTTP,
    TOO_LARGE,
    Refusal,
    refusal_of,
    without_offer,
)
from serving.web.connection.hang_ups import PeerWatch
from serving.web.problems import MEDIA_TYPE, problem

_SLICE = 64 * 1024  # how much is parsed between two looks at the limits
_PER_CHUNK = 20  # bytes that a chunk's size and line ends may have, and that count for nothing
_FREE_CHUNKS, _LEAST_CHUNK = 4096, 16
_FULL = Refusal(503, "the server has as many connections as it takes: try again later")


_CONTINUE = b"HTTP/1.1 100"


class CoalescingTransport:
    """Stands in for the transport of one response, whose body comes right behind its head.

    uvicorn writes the head as soon as the app starts to answer, and then the body. Answers to HEAD have none
    and must not come here: their head would be held for ever.

    Args:
        transport: where it all goes.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self._waits_for_head = True

    def write(self, data: bytes) -> None:
        """Hold the head back; write all else, after it."""
        if self._waits_for_head and not data.startswith(_CONTINUE):
            self._head, self._waits_for_head = data, False
            return
        self._transport.write(self._head + data)
        self._head = b""

    def close(self) -> None:
        """Write what is held, and close."""
        if self._head:
            self._transport.write(self._head)
            self._head = b""
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._transport.is_closing()


class _RefusedError(Exception):
    """Ends the parser; the refusal is kept by the connection."""


class DeadlineProtocol(HttpToolsProtocol):
    """One connection.

    Args:
        receive_seconds: how long headers, or an unwanted rest of a body, may take to arrive.
        write_seconds: how long an answer may take to be taken.
        max_connections: beyond so many, a new one is answered 503 and closed.
        refused: called with the status of every request that is refused here, before the app.
        options: what uvicorn passes.
    """

    def __init__(
        self,
        *,
        receive_seconds: float,
        write_seconds: float,
        max_connections: int,
        refused: Callable[[int], object],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._receive_seconds, self._write_seconds = receive_seconds, write_seconds
        self._max_connections, self._refused = max_connections, refused
        self._deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None
        self._watch: PeerWatch | None = None
        self._running: RequestResponseCycle | None = None
        self._half_closed = self._ending = False
        self._refusal: Refusal | None = None
        self._receiving = self._head_is_whole = self._has_cycle = False
        self._framing_bytes = self._head_bytes = self._headers = self._chunks = self._body_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start waiting for the first request."""
        super().connection_made(transport)
        # Any byte that is not taken calls `pause_writing`. The limit is not 0: over TLS an empty buffer would
        # count as full.
        transport.set_write_buffer_limits(high=1)
        self._watch = PeerWatch(transport, self.loop, self._may_probe)
        self._arm()
        if len(self.connections) > self._max_connections:
            self._end_with(_FULL)

    def data_received(self, data: bytes) -> None:
        """Take bytes in; the deadline stands until they make the app work."""
        self._unset_keepalive_if_required()
        while data and not self._ending and not self.transport.is_closing():
            part, data = (data, b"") if len(data) <= _SLICE else (data[:_SLICE], data[_SLICE:])
            data = self._feed(part) + data
        if self._in_progress:
            self._disarm()
        else:
            self._arm()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Keep the connection of a caller that sent whole requests and now only listens."""
        if not self._in_progress or self._receiving or self._watch is None or self.scheme == "https":
            return None
        self._half_closed = True
        self.cycle.keep_alive = False
        self._watch.start()
        return True

    def on_message_begin(self) -> None:
        """Note that a request has started."""
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _RefusedError
        self._receiving, self._head_is_whole, self._has_cycle = True, False, False
        self._head_bytes = self._headers = self._chunks = self._body_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count a part of the URL."""
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header, or a trailer; trailers are not kept: no one may add headers behind a body."""
        self._headers += 1
        self._count_head(len(name) + len(value) + 4)
        if not self._head_is_whole:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Offer the app a `ClientConnection`, which costs less than a waiting task; answer in one piece."""
        self._head_is_whole = True
        if self.parser.should_upgrade():
            return  # the parser takes this for the end of HTTP: `_feed` has the request read again
        self._refusal = refusal_of(self.parser.get_http_version(), self.headers)
        if self._refusal is not None:
            raise _RefusedError
        super().on_headers_complete()
        self._has_cycle = True
        self.scope["extensions"] = {EXTENSION: {"caller": self.cycle}}
        if self.scope["method"] != "HEAD":
            self.cycle.transport = cast("asyncio.Transport", CoalescingTransport(self.transport))
        self.flow.resume_reading()  # of what is pipelined little is kept; a caller who hangs up is noticed

    def on_chunk_header(self) -> None:
        """Count a chunk; those of a few bytes each cost more than they bring."""
        self._chunks += 1
        self._framing_bytes -= _PER_CHUNK
        if self._chunks > _FREE_CHUNKS and self._body_bytes < _LEAST_CHUNK * self._chunks:
            self._refusal = Refusal(
                400, f"expected chunks of {_LEAST_CHUNK} bytes or more, found smaller ones"
            )
            raise _RefusedError

    def on_body(self, body: bytes) -> None:
        """Take a part of the body; where too much waits unread, look after the caller in another way."""
        self._framing_bytes -= len(body)
        self._body_bytes += len(body)
        super().on_body(body)
        if self.flow.read_paused and self.cycle is not self._running and self._watch is not None:
            self._watch.start()

    def on_message_complete(self) -> None:
        """Note that a request has arrived whole, and read on: there is nothing more of it to pile up."""
        if self.parser.should_upgrade():
            return
        self._receiving = False
        self._framing_bytes = 0
        super().on_message_complete()
        if self.cycle is self._running:
            self.flow.resume_reading()

    def on_response_complete(self) -> None:
        """Give what is left of an unread body a deadline; close where nothing more is to be answered."""
        last = not self.pipeline
        super().on_response_complete()
        if last and not self.transport.is_closing():
            if self._watch is not None and not self._half_closed:
                self._watch.stop()
            if self._ending:
                self._write_refusal()
            elif self._half_closed:
                self.transport.close()
            elif self._receiving:
                self._arm()

    def pause_writing(self) -> None:
        """Give the caller so long to take what was written."""
        super().pause_writing()
        if self._write_deadline is None:
            self._write_deadline = self.loop.call_later(self._write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Note that all was taken."""
        super().resume_writing()
        self._forget_write_deadline()

    def shutdown(self) -> None:
        """Answer what is under way, and close; a caller who takes nothing is given up soon."""
        super().shutdown()
        self._write_seconds = min(self._write_seconds, 2.0)
        if self._write_deadline is not None:
            self._forget_write_deadline()
            self._write_deadline = self.loop.call_later(self._write_seconds, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request on this connection that its caller has gone."""
        self._disarm()
        self._forget_write_deadline()
        if self._watch is not None:
            self._watch.stop()
        waiting = [cycle for cycle, _ in self.pipeline]
        self.pipeline.clear()
        for cycle in (*waiting, *([] if self._running is None else [self._running])):
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    @property
    def _in_progress(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _may_probe(self) -> bool:
        running = self._running
        return (
            running is not None
            and not running.response_started
            and running.scope["http_version"] == "1.1"
            and not self.flow.write_paused
        )

    def _feed(self, part: bytes) -> bytes:
        """Parse a part of what arrived; return what is to be parsed next, before all else."""
        self._framing_bytes += len(part)
        try:
            self.parser.feed_data(part)
        except httptools.HttpParserUpgrade as upgrade:
            if self.parser.get_method() == b"CONNECT":
                self._end_with(Refusal(400, "expected a request to this server, found CONNECT"))
                return b""
            head = without_offer(
                self.parser.get_method(), self.url, self.parser.get_http_version(), self.headers
            )
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self._framing_bytes = 0
            return head + part[upgrade.args[0] :]
        except httptools.HttpParserError:
            full = len(self.pipeline) >= MAX_PIPELINED
            self._end_with(None if full else self._refusal or NOT_HTTP)
        else:
            if self._framing_bytes > MAX_HEAD_BYTES:
                self._end_with(TOO_LARGE)
        return b""

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES or self._headers > MAX_HEADERS:
            self._refusal = TOO_LARGE
            raise _RefusedError

    def _end_with(self, refusal: Refusal | None) -> None:
        """Read no more requests; refuse the last one once those before it are answered, and close."""
        self._ending, self._refusal = True, refusal
        unfinished = self._receiving and self._has_cycle
        if unfinished and self._in_progress and refusal is not None:
            # The app got the start of this request: it is informed that there will be no end.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle is self._running:
                self._running = None
                self._write_refusal()
                return
            self.pipeline.popleft()
        elif unfinished:
            self._refusal = None  # it was answered before its end came
        if self._running is None or self._running.response_complete:
            self._write_refusal()

    def _write_refusal(self) -> None:
        """Answer with a problem, like every other error, and close."""
        if self._refusal is not None:
            refusal = self._refusal
            body = bytes(problem(refusal.status, refusal.detail).body)
            headers = (
                f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(STATUS_LINE[refusal.status] + headers.encode() + body)
            self._refused(refusal.status)
        self.transport.close()

    def _arm(self) -> None:
        if self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(self._receive_seconds, self.transport.close)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _forget_write_deadline(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None
