"""Sends the head of a response together with its body: one system call and one packet, not two."""

import asyncio

_CONTINUE = b"HTTP/1.1 100"


class OnePiece:
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
