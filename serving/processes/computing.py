"""A child: a whole server for images, which asks its parent for all else."""

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, cast

from starlette.types import ASGIApp
from structlog.typing import FilteringBoundLogger

from serving.engine.providers import CPU, OPENVINO
from serving.errors import OfframpError
from serving.hosting import Hosting, host
from serving.model import Model
from serving.monitoring.heartbeat import Heartbeat
from serving.processes.accepting import Accepting, ConnectionCounts
from serving.processes.adopting import adopt
from serving.processes.link import Link
from serving.processes.messages import (
    BEGIN,
    CHANGE,
    FAILED,
    GATHER,
    GUARANTEE,
    JOINED,
    ON_DISK,
    PLAN,
    READY,
    SAMPLES,
    STOP,
    Report,
    Start,
)
from serving.processes.notes import FLUSH, ParentsCapture, ParentsNotes
from serving.processes.parts import (
    CLOSE_SECONDS,
    access_of,
    capture_to,
    certificate_of,
    grpc_server,
    keep_objects,
    service_of,
    takes_labels,
    tune_process,
)
from serving.processes.relay import ANSWER, Relay, answering, brings_images
from serving.processes.remote import ParentsChanges, ParentsStatistics
from serving.processes.shapes import Snapshot, slots_of
from serving.processes.shared_limits import SharedBuckets
from serving.processes.states import ParentsStates
from serving.repository.live import EveryVersion, by_current
from serving.repository.repository import OnDisk
from serving.scheduler.cores import Cores
from serving.system.resources import resident_bytes
from serving.telemetry import logs
from serving.telemetry.log_writer import LogWriter
from serving.telemetry.observers import Observers
from serving.telemetry.tracing import open_tracing
from serving.web.app import create_app, open_to_origins, server_version
from serving.web.server import Server, reserve, share_address
from serving.web.service import Service


def run(descriptor: int) -> int:
    """Serve until the parent says stop, or has gone.

    Args:
        descriptor: of a socket, whose other end the parent has.
    """
    connection: Connection[Any, Any] = Connection(descriptor)
    try:
        _, _, what, (start,) = connection.recv()
    except EOFError:  # the parent did not come so far
        return 0
    assert what == BEGIN  # noqa: S101 - it tells nothing before that
    settings = start.settings
    writer = logs.configure(settings.log_format, settings.log_level, process=start.share.number)
    tune_process()
    try:
        return _Child(connection, start, writer).serve()
    finally:
        if writer is not None:
            writer.close()


class _Child:
    """One child, and what its parent may ask of it."""

    def __init__(self, connection: "Connection[Any, Any]", start: Start, writer: LogWriter | None) -> None:
        self._start, self._settings, self._writer = start, start.settings, writer
        self._logger = logs.get_logger()
        self._stop_by: list[int] = []
        self._server: Server | None = None
        self._hosting: Hosting | None = None
        self._adopted = threading.Event()
        self._loop: Future[asyncio.AbstractEventLoop] = Future()
        self._inner: Future[ASGIApp] = Future()
        self._service: Service
        self._notes: ParentsNotes | None = None
        self._captured: ParentsCapture | None = None
        self._parent = Link(
            connection,
            {
                ANSWER: answering(self._inner, self._loop),
                CHANGE: self._change,
                FLUSH: self._flush,
                GATHER: self._gather,
                GUARANTEE: lambda name, version, *given: self._model(name, version).guarantee(*given),
                ON_DISK: self._on_disk,
                PLAN: lambda name, version, budget: self._model(name, version).plan(budget),
                SAMPLES: lambda name, version: self._model(name, version).samples,
                STOP: self._stop,
            },
            "the parent process",
            partial(self._stop, signal.SIGINT),
        )

    def serve(self) -> int:
        """Load the models, join the others, and serve."""
        self._parent.start()
        settings, logger = self._settings, self._logger
        observers = Observers.of(logger, self._writer, self._start.started)
        try:
            bucket = SharedBuckets(self._start.limits).bucket
            access = access_of(settings, self._start.admin_port, logger, observers.emit, bucket)
            certificate = certificate_of(settings, logger)
            states = ParentsStates(self._parent, logger)
            hosting = self._hosting = host(
                settings, observers, logger, states, Cores(self._start.share.core_count)
            )
            wanted = self._parent.ask(JOINED, _report(hosting))
        except OfframpError as error:
            with suppress(OfframpError):
                self._parent.ask(FAILED, error)
            return 2
        if wanted is not None:
            adopt(hosting.repository, hosting.live, wanted, logger)
        self._adopted.set()
        service = self._service = service_of(
            hosting.live,
            settings,
            observers,
            ParentsChanges(self._parent, hosting.repository),
            ParentsStatistics(self._parent),
        )
        self._statistics = observers.statistics
        service.tracing = open_tracing(server_version())
        if takes_labels(settings):
            service.noted_elsewhere = self._notes = ParentsNotes(self._parent, settings.label_answers)
        if settings.capture:
            self._captured = ParentsCapture(self._parent, settings.capture)
            service.capture = capture_to(settings, self._captured)
        every: EveryVersion[Model] = EveryVersion(hosting.live, by_current)
        heartbeat = Heartbeat(every, settings.stall_seconds, observers.emit)
        number, grpc_address = self._start.share.number, self._start.grpc_address
        beside = (
            None
            if grpc_address is None
            else grpc_server(service, access, reserve(*grpc_address), certificate, number)
        )
        app = open_to_origins(create_app(service, access, number, self._relayed), settings.cors_origins)
        server = self._server = _Server(app, service, self._accepts, certificate, beside)
        server.share = number, ConnectionCounts(self._start.connections), logger
        for each in self._stop_by:
            server.handle_exit(each, None)
        keep_objects()
        try:
            server.run([socket.socket(fileno=self._start.public)])
        finally:
            heartbeat.close()
            hosting.close(0 if server.force_exit else CLOSE_SECONDS)
            for sending in (self._notes, self._captured):
                if sending is not None:
                    sending.close()
            self._parent.close()
        logger.info("stopped", graceful=not server.force_exit)
        return 0

    def _relayed(self, app: ASGIApp) -> ASGIApp:
        """Have the parent answer what does not bring images."""
        self._inner.set_result(app)
        return Relay(
            app,
            lambda scope: not brings_images(scope),
            lambda: self._parent,
            self._settings,
            self._service.bodies,
            self._logger,
        )

    def _accepts(self) -> None:
        self._loop.set_result(asyncio.get_running_loop())
        self._parent.tell(READY)

    def _stop(self, number: int) -> None:
        self._stop_by.append(number)
        if self._server is not None:
            self._server.handle_exit(number, None)

    def _flush(self) -> None:
        for sending in (self._notes, self._captured):
            if sending is not None:
                sending.flush()

    def _held(self) -> Hosting:
        """What this process serves, once it has what the others have."""
        self._adopted.wait()
        assert self._hosting is not None  # noqa: S101 - set before the event
        return self._hosting

    def _model(self, name: str, version: str) -> Model:
        return self._held().live.slot(name).chosen(version, None).model

    def _on_disk(self) -> list[OnDisk]:
        return self._held().repository.on_disk()

    def _change(self, what: str, *given: Any) -> None:
        getattr(self._held().repository, what)(*given)

    def _gather(self, parts: Sequence[str]) -> Snapshot:
        """Say what this process does and has."""
        hosting, service = self._held(), self._service
        live = hosting.live
        names = list(live.slots)
        found = Snapshot(slots_of(live), service.unready, service.dead)
        makers: dict[str, Callable[[], Any]] = {
            "metrics": service.metrics.collected,
            "live": lambda: {name: service.live.seconds_of(name) for name in names},
            "statistics": lambda: {
                (name, number): self._statistics.of(name, number)
                for name, slot in live.slots.items()
                for number in slot.versions
            },
            "compared": lambda: {name: hosting.repository.compared(name) for name in names},
            "recent": lambda: {} if service.recent is None else service.recent.all(),
        }
        return replace(found, **{part: makers[part]() for part in parts})


class _Server(Server):
    """A server that only its parent stops, and that shares its socket fairly."""

    share: tuple[int, ConnectionCounts, FilteringBoundLogger]
    _accepting: Accepting | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting, and say so."""
        await super().startup([])
        number, counts, logger = self.share
        for listening in sockets or []:
            share_address(listening)  # as `Server.startup` does
            self._accepting = Accepting(
                listening,
                self._connect,
                lambda: len(self.server_state.connections),
                number,
                counts,
                logger,
            )
            self._accepting.start()
            self.servers.append(cast("asyncio.base_events.Server", self._accepting))

    async def on_tick(self, counter: int) -> bool:
        """Say whether to stop accepting; let the others know of connections that were closed."""
        if self._accepting is not None:
            self._accepting.tell()
        return await super().on_tick(counter)

    async def _connect(self, connection: socket.socket) -> None:
        """Speak HTTP on a connection."""
        config, loop = self.config, asyncio.get_running_loop()

        def protocol() -> asyncio.Protocol:
            make: Any = config.http_protocol_class
            made: asyncio.Protocol = make(
                config=config, server_state=self.server_state, app_state=self.lifespan.state
            )
            return made

        await loop.connect_accepted_socket(protocol, connection, ssl=config.ssl)


def _report(hosting: Hosting) -> Report:
    models = hosting.live.values()
    return Report(
        max(sum(model.image_seconds()) for model in models),
        resident_bytes(),
        all(model.providers[0] in (CPU, OPENVINO) for model in models),
    )
