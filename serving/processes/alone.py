"""One process that serves alone."""

from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from structlog.typing import FilteringBoundLogger

from serving.errors import OfframpError
from serving.hosting import host
from serving.model import Model
from serving.monitoring.heartbeat import Heartbeat
from serving.processes.parts import (
    CLOSE_SECONDS,
    access_of,
    capture_store,
    capture_to,
    certificate_of,
    grpc_server,
    keep_objects,
    label_book,
    say_listening,
    service_of,
    take_grpc_port,
    take_ports,
    tune_process,
    url_of,
)
from serving.repository.live import EveryVersion, by_current
from serving.settings import Settings
from serving.system.resources import resources
from serving.telemetry import logs
from serving.telemetry.log_writer import LogWriter
from serving.telemetry.observers import Observers
from serving.telemetry.tracing import open_tracing
from serving.web.app import create_app, open_to_origins, server_version
from serving.web.server import Server


class Alone:
    """The models of a process that has no others beside it, with what looks after them and answers for them.

    Args:
        settings: of the server.
        observers: hear of everything.
        logger: where models are named.
        stack: once it is left, labels are taken no more; close the models before.

    Attributes:
        service: the state of the routes.

    Raises:
        OfframpError: no model can be loaded.
    """

    def __init__(
        self, settings: Settings, observers: Observers, logger: FilteringBoundLogger, stack: ExitStack
    ) -> None:
        self._hosting = host(settings, observers, logger)
        live = self._hosting.live
        self.service = service_of(live, settings, observers, self._hosting.repository)
        observers.metrics.processes(lambda: 1)
        self.service.tracing = open_tracing(server_version())
        captured = stack.enter_context(capture_store(settings, observers.metrics, logger))
        self.service.capture = capture_to(settings, captured)
        self.service.labels = stack.enter_context(
            label_book(settings, observers.emit, logger, captured=captured)
        )
        every: EveryVersion[Model] = EveryVersion(live, by_current)
        self._heartbeat = Heartbeat(every, settings.stall_seconds, observers.emit)

    def begin(self) -> None:
        """Keep what is there now out of garbage collections, and follow the folder of models."""
        keep_objects()
        if self._hosting.watcher is not None:
            self._hosting.watcher.start()

    def close(self, timeout_seconds: float) -> None:
        """Keep what was learned, and close the models."""
        self._heartbeat.close()
        self._hosting.close(timeout_seconds)


def serve_alone(settings: Settings, writer: LogWriter | None) -> int:
    """Serve until told to stop.

    Raises:
        OfframpError: it cannot start.
    """
    tune_process()
    logger = logs.get_logger()
    observers = Observers.of(logger, writer)
    certificate = certificate_of(settings, logger)
    with ExitStack() as stack:
        sockets = take_ports(settings, stack)
        grpc_socket = take_grpc_port(settings, stack)
        admin_port = sockets[1].getsockname()[1] if sockets[1:] else None
        access = access_of(settings, admin_port, logger, observers.emit)
        alone = Alone(settings, observers, logger, stack)
        service = alone.service
        logger.info("resources", waiting_bytes=settings.waiting_bytes, **asdict(resources()))
        scheme = "http" if certificate is None else "https"
        more: dict[str, Any] = {} if grpc_socket is None else {"grpc_port": grpc_socket.getsockname()[1]}
        beside = None if grpc_socket is None else grpc_server(service, access, grpc_socket, certificate)
        app = open_to_origins(create_app(service, access), settings.cors_origins)

        def started() -> None:
            say_listening(sockets, scheme, list(service.models), more)

        server = Server(app, service, started, certificate, beside)
        alone.begin()
        wanted = " and ".join(url_of(one, scheme) for one in sockets)
        try:
            server.run(sockets)
        except OSError as error:
            raise OfframpError(
                f"cannot listen on {wanted}: {error.strerror}; choose another with --host and --port"
            ) from error
        finally:
            alone.close(0 if server.force_exit else CLOSE_SECONDS)
    logger.info("stopped", graceful=not server.force_exit)
    return 0
