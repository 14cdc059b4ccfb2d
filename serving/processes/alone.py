"""One process that serves alone."""

from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from serving.errors import OfframpError
from serving.events import fan_out
from serving.hosting import Listeners, host
from serving.model import Model
from serving.monitoring.heartbeat import Heartbeat
from serving.processes.parts import (
    CLOSE_SECONDS,
    access_of,
    certificate_of,
    count_dropped_lines,
    grpc_server,
    keep_objects,
    label_book,
    say_listening,
    take_grpc_port,
    take_ports,
    tune_process,
    url_of,
)
from serving.repository.live import EveryVersion, by_current
from serving.settings import Settings
from serving.system.resources import resources
from serving.telemetry import logs
from serving.telemetry.live import Live
from serving.telemetry.log_writer import LogWriter
from serving.telemetry.metrics import Metrics
from serving.telemetry.statistics import Statistics
from serving.telemetry.tracing import open_tracing
from serving.web.app import create_app, open_to_origins, server_version
from serving.web.server import Server
from serving.web.service import Service


def serve_alone(settings: Settings, writer: LogWriter | None) -> int:
    """Serve until told to stop.

    Raises:
        OfframpError: it cannot start.
    """
    tune_process()
    logger = logs.get_logger()
    metrics = Metrics()
    count_dropped_lines(metrics, writer)
    statistics, live, log = Statistics(), Live(), logs.EventLog(logger)
    emit = fan_out(metrics, live, log)  # of events that are no model's
    certificate = certificate_of(settings, logger)
    with ExitStack() as stack:
        sockets = take_ports(settings, stack)
        grpc_socket = take_grpc_port(settings, stack)
        access = access_of(settings, sockets[1].getsockname()[1] if sockets[1:] else None, logger, emit)
        hosting = host(settings, Listeners(metrics, statistics, live), logger)
        models = hosting.live
        logger.info("resources", waiting_bytes=settings.waiting_bytes, **asdict(resources()))
        scheme = "http" if certificate is None else "https"
        more: dict[str, Any] = {} if grpc_socket is None else {"grpc_port": grpc_socket.getsockname()[1]}
        service = Service(
            models,
            settings,
            metrics,
            emit,
            statistics=statistics,
            live=live,
            repository=hosting.repository,
        )
        service.show()
        metrics.processes(lambda: 1)
        service.tracing = open_tracing(server_version())
        service.labels = stack.enter_context(label_book(settings, emit, logger))
        every: EveryVersion[Model] = EveryVersion(models, by_current)
        heartbeat = Heartbeat(every, settings.stall_seconds, emit)
        beside = None if grpc_socket is None else grpc_server(service, access, grpc_socket, certificate)
        app = open_to_origins(create_app(service, access), settings.cors_origins)

        def started() -> None:
            say_listening(sockets, scheme, list(models), more)

        server = Server(app, service, started, certificate, beside)
        keep_objects()
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
            hosting.close(0 if server.force_exit else CLOSE_SECONDS)
    logger.info("stopped", graceful=not server.force_exit)
    return 0
