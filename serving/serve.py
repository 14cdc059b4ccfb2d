"""The server from its settings to its end: load bundles, serve them, stop gracefully."""

import gc
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from importlib.util import find_spec

from structlog.typing import FilteringBoundLogger

from serving.errors import OfframpError
from serving.events import Listener, fan_out
from serving.hosting import Listeners, host
from serving.model import Model
from serving.monitoring.heartbeat import Heartbeat
from serving.monitoring.label_book import LabelBook
from serving.monitoring.label_store import LabelStore
from serving.repository.live import EveryVersion, by_current
from serving.settings import DAY_SECONDS, Settings, unknown_variables
from serving.system.address_lock import only_server
from serving.system.resources import resources
from serving.telemetry import logs
from serving.telemetry.live import Live
from serving.telemetry.log_writer import LogWriter
from serving.telemetry.malloc import set_thresholds
from serving.telemetry.metrics import Metrics
from serving.telemetry.statistics import Statistics
from serving.telemetry.streams import announce
from serving.telemetry.tracing import open_tracing
from serving.web.access.control import Access, default_hosts
from serving.web.access.keys import KeyRing
from serving.web.app import create_app, open_to_origins, server_version
from serving.web.connection.tls import Certificate
from serving.web.server import Beside, Server, reserve
from serving.web.service import Service

_SWITCH_SECONDS = 0.0005
"""Seconds that a thread may keep the interpreter from the others. The one that computes comes back from ONNX
Runtime while requests are read and answered: at Python's 5 ms the cores can idle that long after a batch."""

_CLOSE_SECONDS = 3.0


def serve(settings: Settings) -> int:
    """Load what `settings` names and serve it.

    Once the server accepts, it writes one line of JSON to standard output: `{"event": "listening",
    "url": ..., "host": ..., "port": ..., "models": [...]}`. All else goes to the log on standard error.

    Raises:
        OfframpError: it cannot start.
    """
    set_thresholds()
    sys.setswitchinterval(_SWITCH_SECONDS)
    writer = logs.configure(settings.log_format, settings.log_level)
    try:
        return _serve(settings, writer)
    finally:
        if writer is not None:
            writer.close()


def _serve(settings: Settings, writer: LogWriter | None) -> int:
    logger = logs.get_logger()
    metrics = Metrics()
    if writer is not None:
        metrics.watch(
            "offramp_log_lines_dropped", "Log lines that were dropped.", lambda: writer.dropped, counts=True
        )
    statistics, live, log = Statistics(), Live(), logs.EventLog(logger)
    emit = fan_out(metrics, live, log)  # of events that are no model's
    keys, certificate = _who_may_ask(settings, logger, emit)
    unknown = unknown_variables(os.environ)
    if unknown:
        logger.warning("unknown_variables", variables=unknown)
    with ExitStack() as stack:
        sockets = _take_ports(settings, stack)
        grpc_socket = _take_grpc_port(settings, stack)
        hosting = host(settings, Listeners(metrics, statistics, live), logger)
        models = hosting.live
        logger.info("resources", waiting_bytes=settings.waiting_bytes, **asdict(resources()))
        scheme = "http" if certificate is None else "https"

        def started() -> None:
            host, port = sockets[0].getsockname()[:2]
            line = {"event": "listening", "url": url_of(sockets[0], scheme), "host": host, "port": port}
            line |= {"models": sorted(models)}
            if sockets[1:]:
                line |= {"admin_url": url_of(sockets[1], scheme), "admin_port": sockets[1].getsockname()[1]}
            if grpc_socket is not None:
                line |= {"grpc_port": grpc_port}
            announce(json.dumps(line))

        service = Service(
            models, settings, metrics, emit, statistics=statistics, live=live, repository=hosting.repository
        )
        service.show()
        service.tracing = open_tracing(server_version())
        service.labels = stack.enter_context(_label_book(settings, emit, logger))
        every: EveryVersion[Model] = EveryVersion(models, by_current)
        heartbeat = Heartbeat(every, settings.stall_seconds, emit)
        access = Access(
            hosts=settings.allowed_hosts or default_hosts(settings.host),
            keys=keys,
            admin_port=sockets[1].getsockname()[1] if sockets[1:] else None,
            allow_admin=settings.allow_admin,
        )
        grpc_port = 0 if grpc_socket is None else grpc_socket.getsockname()[1]
        beside = None if grpc_socket is None else _grpc_server(service, access, grpc_socket, certificate)
        app = open_to_origins(create_app(service, access), settings.cors_origins)
        server = Server(app, service, started, certificate, beside)
        # The objects of now stay: a garbage collection over them would hold up every thread for 0.1 s.
        gc.collect()
        gc.freeze()
        if hosting.watcher is not None:
            hosting.watcher.start()
        wanted = " and ".join(url_of(one, scheme) for one in sockets)
        try:
            server.run(sockets)
        except OSError as error:
            raise OfframpError(
                f"cannot listen on {wanted}: {error.strerror}; choose another with --host and --port"
            ) from error
        finally:
            heartbeat.close()
            hosting.close(0 if server.force_exit else _CLOSE_SECONDS)
    logger.info("stopped", graceful=not server.force_exit)
    return 0


@contextmanager
def _label_book(
    settings: Settings, emit: Listener, logger: FilteringBoundLogger
) -> Iterator[LabelBook | None]:
    """Keep answers that labels may come for, where somebody may send any."""
    if not settings.allow_admin and settings.admin_port is None:
        yield None
        return
    store = LabelStore(
        settings.state_dir,
        keep=settings.label_answers,
        keep_seconds=settings.label_days * DAY_SECONDS,
        logger=logger,
    )
    book = LabelBook(
        store,
        alarm_delta=settings.accuracy_delta,
        guarantee_delta=settings.guarantee_delta,
        emit=emit,
        logger=logger,
    )
    try:
        yield book
    finally:
        book.close()


def _take_ports(settings: Settings, stack: ExitStack) -> list[socket.socket]:
    """Take the port, and the second one where there is one, until `stack` is left."""
    stack.enter_context(only_server(settings.host, settings.port))
    sockets = [stack.enter_context(reserve(settings.host, settings.port))]
    if settings.admin_port is not None:
        stack.enter_context(only_server(settings.admin_host, settings.admin_port))
        admin = reserve(settings.admin_host, settings.admin_port, "--admin-host and --admin-port")
        sockets.append(stack.enter_context(admin))
    return sockets


def _who_may_ask(
    settings: Settings, logger: FilteringBoundLogger, emit: Listener
) -> tuple[KeyRing | None, Certificate | None]:
    """Read the keys that callers need, and the certificate that they are shown, where there are such."""
    keys = None if settings.api_keys_file is None else KeyRing(settings.api_keys_file, logger, emit=emit)
    if settings.tls_cert is None or settings.tls_key is None:
        return keys, None
    return keys, Certificate(settings.tls_cert, settings.tls_key, logger)


def _grpc_server(
    service: Service, access: Access, reserved: socket.socket, certificate: Certificate | None
) -> Beside:
    """Make the server beside the one for HTTP; only who asks for it needs what it imports."""
    from serving.web.grpc.make import make_server

    return make_server(service, access, reserved, certificate)


def _take_grpc_port(settings: Settings, stack: ExitStack) -> socket.socket | None:
    """Take the port for gRPC, where there is to be one, until `stack` is left.

    Raises:
        OfframpError: what speaks gRPC is not installed, or the address cannot be had.
    """
    if settings.grpc_port is None:
        return None
    if find_spec("grpc_health") is None or find_spec("grpc") is None:
        raise OfframpError("--grpc-port needs gRPC: pip install 'offramp[grpc]'")
    stack.enter_context(only_server(settings.host, settings.grpc_port))
    return stack.enter_context(reserve(settings.host, settings.grpc_port, "--host and --grpc-port"))


def url_of(listening: socket.socket, scheme: str) -> str:
    """Return the address that a socket listens on, as a URL."""
    host, port = listening.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
