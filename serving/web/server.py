"""uvicorn with a graceful stop: unready first, then what was admitted is answered, then the socket closes."""

import asyncio
import errno
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Protocol, cast

import uvicorn
from starlette.types import ASGIApp

from serving.errors import OfframpError
from serving.telemetry.malloc import trim
from serving.web.connection.protocol import DeadlineProtocol
from serving.web.connection.tls import Certificate
from serving.web.service import Service

_OTHER_FILES = 128
_TICKS_BETWEEN_LOOKS = 10
_KEEP_ALIVE_SECONDS = 75  # Longer than the 60 s of common proxies: the proxy closes idle connections, not we.


class Beside(Protocol):
    """Another server in the same event loop."""

    async def start(self) -> None:
        """Start accepting."""

    async def stop(self, grace_seconds: float, given_up: Callable[[], bool]) -> None:
        """Accept nothing more; wait so long for the requests in flight, or until the wait is given up."""


class Server(uvicorn.Server):
    """One server over one app.

    The first SIGTERM, or SIGHUP, makes the server unready; it goes on serving for `drain_seconds`, then stops
    accepting, answers what was admitted and ends. SIGINT skips the drain. A second signal skips what is left
    of it, and one after the drain also gives up the requests in flight.

    Args:
        app: the ASGI application.
        service: made unready.
        started: called once the server accepts.
        certificate: for TLS; None serves in the clear.
        beside: another server that starts and stops with this one.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        app: ASGIApp,
        service: Service,
        started: Callable[[], None],
        certificate: Certificate | None = None,
        beside: Beside | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = service.settings
        protocol = partial(
            DeadlineProtocol,
            receive_seconds=settings.body_timeout_seconds,
            write_seconds=settings.write_timeout_seconds,
            max_connections=settings.max_connections or _most_connections(),
            refused=lambda status: service.metrics.answered("unmatched", status, 0.0),
        )
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
                ssl_certfile=None if certificate is None else certificate.cert,
                ssl_keyfile=None if certificate is None else certificate.key,
            )
        )
        self._beside = beside
        self._certificate = certificate
        self._service = service
        self._started = started
        self._clock = clock
        self._drain_until = 0.0

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take SIGHUP, too: a closed terminal is no reason to lose what was learned, or who waits."""
        with super().capture_signals():
            if not hasattr(signal, "SIGHUP"):
                yield
                return
            before = signal.signal(signal.SIGHUP, self.handle_exit)
            try:
                yield
            finally:
                signal.signal(signal.SIGHUP, before)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting, and say so."""
        for reserved in (
            sockets or ()
        ):  # For connections, so that the next server need not wait until they fade.
            share_address(reserved)
        await super().startup(sockets)
        if self._beside is not None:
            await self._beside.start()
        self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, on every port, and wait for what is under way."""
        if self._beside is None:
            await super().shutdown(sockets)
            return
        grace_seconds = self._service.settings.shutdown_timeout_seconds
        beside = self._beside.stop(grace_seconds, lambda: self.force_exit)
        await asyncio.gather(super().shutdown(sockets), beside)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take one signal; unlike uvicorn, do not raise it again at the end: a graceful stop is a success."""
        now = self._clock()
        if self._service.draining and now >= self._drain_until:
            self.force_exit = True
        waits = sig != signal.SIGINT and not self._service.draining
        self._drain_until = now + (self._service.settings.drain_seconds if waits else 0)
        self._service.draining = True

    def _look_after(self) -> None:
        """Do what is due once a second."""
        if self._certificate is not None:
            self._certificate.renew(self.config.ssl)
        if self._service.bodies.burst_is_over():
            threading.Thread(target=trim, name="offramp-trim", daemon=True).start()

    async def on_tick(self, counter: int) -> bool:
        """Say whether to stop accepting, ten times a second."""
        self.should_exit = self._service.draining and self._clock() >= self._drain_until
        if counter % _TICKS_BETWEEN_LOOKS == 0:
            self._look_after()
        return await super().on_tick(counter)


def reserve(host: str, port: int, flags: str = "--host and --port") -> socket.socket:
    """Take a port, before the models are loaded, without listening on it yet.

    No other program gets it meanwhile, under any name of the address: sockets share one that is not listened
    on only where both have `SO_REUSEADDR`. It is needed, and set, where connections of an earlier server have
    not faded yet; then `serving.system.address_lock` alone keeps a second server away.

    Args:
        host: an address of this machine, or a name of one.
        port: 0 takes a free one.
        flags: by which both are chosen, for the message.

    Raises:
        OfframpError: the address cannot be had.
    """
    try:
        try:
            return _bound(host, port, reuse=False)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        return _bound(host, port, reuse=True)
    except OSError as error:
        raise OfframpError(
            f"cannot listen on {host} port {port}: {error.strerror}; "
            f"choose another with {flags} (0 takes a free port)"
        ) from error


def share_address(reserved: socket.socket) -> None:
    """Let others with `SO_REUSEADDR` take the address of a reserved socket, until it listens."""
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def _bound(host: str, port: int, *, reuse: bool) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


def _most_connections() -> int:
    """As many connections as open files are allowed, less what the rest of the process needs."""
    try:
        import resource
    except ImportError:
        return 4096
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, soft - _OTHER_FILES) if soft != resource.RLIM_INFINITY else 2**20
