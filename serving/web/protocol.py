"""uvicorn's HTTP protocol with a deadline on receiving, and responses in one piece.

uvicorn waits for ever for a request that trickles in. The app limits the time of a body that it reads; here
is the rest: a connection on which the app is not at work (the headers are not complete, or the answer went
out before the body was read) is closed when nothing useful arrives in time.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving.web.caller import EXTENSION
from serving.web.problems import MEDIA_TYPE, problem

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


class DeadlineProtocol(HttpToolsProtocol):
    """One connection.

    Args:
        receive_seconds: how long headers, or an unwanted rest of a body, may take to arrive.
        options: what uvicorn passes.
    """

    def __init__(self, *, receive_seconds: float, **options: Any) -> None:
        super().__init__(**options)
        self._receive_seconds = receive_seconds
        self._deadline: asyncio.TimerHandle | None = None
        self._receiving = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start waiting for the first request."""
        super().connection_made(transport)
        self._arm()

    def data_received(self, data: bytes) -> None:
        """Take bytes in; the deadline stands until they make the app work."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._disarm()
        else:
            self._arm()

    def on_message_begin(self) -> None:
        """Note that a request has started."""
        self._receiving = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Offer the app a `ClientConnection`, which costs less than a task that waits; answer in one piece."""
        super().on_headers_complete()
        self.scope["extensions"] = {EXTENSION: {"caller": self.cycle}}
        if self.scope["method"] != "HEAD":
            self.cycle.transport = cast("asyncio.Transport", CoalescingTransport(self.transport))

    def on_message_complete(self) -> None:
        """Note that a request has arrived whole."""
        self._receiving = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Give what is left of an unread body a deadline."""
        super().on_response_complete()
        if self._receiving:
            self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._disarm()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP with a problem, like every other error."""
        body = bytes(problem(400, msg).body)
        headers = f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[400] + headers.encode() + body)
        self.transport.close()

    def _arm(self) -> None:
        if self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(self._receive_seconds, self.transport.close)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
