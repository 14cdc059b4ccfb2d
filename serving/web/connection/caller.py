"""Tells a waiting request of two things with one event: its answer is there, or its caller hung up."""

import asyncio
from typing import Protocol

from starlette.types import Receive, Scope

EXTENSION = "offramp.caller"
"""The ASGI extension in which a server offers the request's `ClientConnection`, under the key "caller"."""


class ClientConnection(Protocol):
    """The caller of a request (uvicorn's `RequestResponseCycle` is one)."""

    disconnected: bool
    """Whether the caller has gone."""
    more_body: bool
    """Whether a part of the body has not arrived yet."""
    message_event: asyncio.Event
    """Set when one of these changes; other code may set it, too, to end the waiting."""


class WatchedConnection:
    """A caller behind a server that offers no `ClientConnection`: a task reads on until the connection ends.

    Args:
        receive: ASGI's; no other code may use it from now on.
    """

    def __init__(self, receive: Receive) -> None:
        self.disconnected = False
        self.more_body = False
        self.message_event = asyncio.Event()
        self._watch = asyncio.create_task(self._read_on(receive))

    def close(self) -> None:
        """Stop watching."""
        self._watch.cancel()

    async def _read_on(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.disconnected = True
        self.message_event.set()


def caller_of(scope: Scope) -> ClientConnection | None:
    """Return what the server offers, if it does."""
    caller: ClientConnection | None = scope.get("extensions", {}).get(EXTENSION, {}).get("caller")
    return caller
