"""uvicorn with a graceful stop: unready first, then what was admitted is answered, then the socket closes."""

import asyncio
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from serving.errors import OfframpError
from serving.settings import Settings
from serving.web.protocol import DeadlineProtocol
from serving.web.service import Service

_KEEP_ALIVE_SECONDS = 75  # Longer than the 60 s of common proxies: the proxy closes idle connections, not we.


class Server(uvicorn.Server):
    """One server over one app.

    The first SIGTERM makes the server unready; it goes on serving for `drain_seconds`, then stops accepting,
    answers what was admitted and ends. SIGINT skips the drain. A second signal skips what is left of it, and
    one after the drain also gives up the requests in flight.

    Args:
        app: the ASGI application.
        service: told to be unready.
        started: called once the server accepts.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        app: ASGIApp,
        service: Service,
        started: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = service.settings
        protocol = partial(DeadlineProtocol, receive_seconds=settings.body_timeout_seconds)
        super().__init__(
            uvicorn.Config(
                app,
                http=cast("type[asyncio.Protocol]", protocol),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=settings.shutdown_timeout_seconds,
            )
        )
        self._service = service
        self._started = started
        self._clock = clock
        self._drain_until = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting, and say so."""
        await super().startup(sockets)
        self._started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take one signal; unlike uvicorn, do not raise it again at the end: a graceful stop is a success."""
        now = self._clock()
        if self._service.draining and now >= self._drain_until:
            self.force_exit = True
        waits = sig != signal.SIGINT and not self._service.draining
        self._drain_until = now + (self._service.settings.drain_seconds if waits else 0)
        self._service.draining = True

    async def on_tick(self, counter: int) -> bool:
        """Say whether to stop accepting, ten times a second."""
        self.should_exit = self._service.draining and self._clock() >= self._drain_until
        return await super().on_tick(counter)


def reserve(settings: Settings) -> socket.socket:
    """Take the port, before the models are loaded, without listening on it yet.

    Raises:
        OfframpError: the address cannot be had.
    """
    reserved = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((settings.host, settings.port))
    except OSError as error:
        reserved.close()
        raise OfframpError(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror}; "
            "choose another with --host and --port (0 takes a free port)"
        ) from error
    return reserved
