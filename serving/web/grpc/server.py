"""A gRPC server beside the HTTP one, in the same event loop; it starts, drains and stops with it."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc

from serving.errors import OfframpError
from serving.web.connection.tls import Certificate
from serving.web.grpc.closing import Closing
from serving.web.grpc.health import Health
from serving.web.grpc.servicer import Servicer
from serving.web.service import Service

_HEADROOM_BYTES = 64 * 1024  # names, shapes and parameters beside the images
_LOOK_SECONDS = 1.0
_FORCE_LOOK_SECONDS = 0.1


class GrpcServer:
    """Serves calls on a port that was taken before.

    Args:
        service: its settings give the limits.
        servicer: answers inference calls.
        reserved: a bound socket; given up at the start, when gRPC takes its address.
        certificate: for TLS; None serves in the clear.
        closing: set when it stops.
    """

    def __init__(
        self,
        service: Service,
        servicer: Servicer,
        reserved: socket.socket,
        certificate: Certificate | None,
        closing: Closing,
    ) -> None:
        self._closing = closing
        self._service, self._servicer = service, servicer
        self._reserved, self._certificate = reserved, certificate
        self._health = Health(service, closing)
        self._server: Any = None
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start accepting.

        Raises:
            OfframpError: the address cannot be had any more.
        """
        # Messages over the limit are refused here, by name; gRPC's own limit only bounds what it buffers.
        largest = 2 * self._service.settings.max_body_bytes + _HEADROOM_BYTES
        options = (
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", largest),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", 16 * 1024),
        )
        server = grpc.aio.server(
            options=options, maximum_concurrent_rpcs=self._service.settings.max_queue_rows
        )
        server.add_generic_rpc_handlers((self._servicer.handlers(),))
        await self._health.refresh()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        host, port = self._reserved.getsockname()[:2]
        self._reserved.close()
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if self._certificate is None:
                server.add_insecure_port(address)
            else:
                server.add_secure_port(address, _credentials(self._certificate))
            await server.start()
        except RuntimeError as error:
            raise OfframpError(f"cannot listen on {address} (--grpc-port): {error}") from error
        self._server = server
        self._looking = asyncio.create_task(self._look())

    async def stop(self, grace_seconds: float, given_up: Callable[[], bool]) -> None:
        """Accept nothing more, and wait for what is under way.

        Args:
            grace_seconds: for how long at most.
            given_up: whether the wait was given up; read while waiting.
        """
        if self._server is None:
            return
        if self._looking is not None:
            self._looking.cancel()
        await self._health.enter_graceful_shutdown()
        self._closing.set()
        stopping = asyncio.ensure_future(self._server.stop(grace_seconds))
        while not stopping.done():
            if given_up():
                await self._server.stop(0)
            await asyncio.wait([stopping], timeout=_FORCE_LOOK_SECONDS)

    async def _look(self) -> None:
        with suppress(asyncio.CancelledError):
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                await self._health.refresh()


def _credentials(certificate: Certificate) -> Any:
    """Show what the files of a certificate hold; they are read again when they have changed."""

    def pair() -> tuple[bytes, bytes]:
        return certificate.key.read_bytes(), certificate.cert.read_bytes()

    shown = pair()

    def renewed() -> Any:
        nonlocal shown
        try:
            found = pair()
        except OSError:
            return None
        if found == shown:
            return None
        shown = found
        return grpc.ssl_server_certificate_configuration([found])

    first = grpc.ssl_server_certificate_configuration([shown])
    return grpc.dynamic_ssl_server_credentials(first, renewed)
