"""The parent: takes the ports, starts the children, and answers for all of them."""

import asyncio
import os
import socket
import time
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from types import FrameType
from typing import Any

from starlette.types import ASGIApp

from serving.errors import ClosedError, OfframpError
from serving.events import fan_out
from serving.monitoring.state import StateFolder
from serving.processes.accepting import GONE, ConnectionCounts
from serving.processes.automatic import process_count
from serving.processes.children import Children
from serving.processes.gathered import (
    GatheredLive,
    GatheredMetrics,
    GatheredService,
    GatheredStatistics,
    Looking,
    compared,
    look,
)
from serving.processes.layout import Share, shares
from serving.processes.link import Handler
from serving.processes.messages import CHANGE, ON_DISK, Report, Start
from serving.processes.notes import CAPTURED, FLUSH, NOTES, take_notes
from serving.processes.parts import (
    access_of,
    capture_store,
    certificate_of,
    keep_objects,
    label_book,
    say_listening,
    take_grpc_port,
    take_ports,
)
from serving.processes.relay import ANSWER, Relay, answering, brings_images
from serving.processes.remote import ALL_CHANGE, ALL_STATISTICS, Everywhere
from serving.processes.shared_limits import SharedBuckets
from serving.processes.states import LOAD, SAVE, SharedStates
from serving.processes.supervisor import Supervisor
from serving.repository.live import LiveModels
from serving.repository.loading import models_places
from serving.repository.watcher import Watcher
from serving.settings import MOST_PROCESSES, Settings
from serving.system.resources import resources
from serving.telemetry import logs
from serving.telemetry.log_writer import LogWriter
from serving.telemetry.observers import count_dropped_lines
from serving.telemetry.tracing import open_tracing
from serving.web.app import create_app, open_to_origins, server_version
from serving.web.server import Server, share_address

_FLUSH_SECONDS = 2.0


def serve_with_processes(settings: Settings, writer: LogWriter | None) -> int:
    """Serve with several processes until told to stop.

    Raises:
        OfframpError: it cannot start.
    """
    with ExitStack() as stack:
        return _Parent(settings, writer, stack).serve()


class _Parent:
    """The process that holds what there is once, and what its children may ask of it."""

    def __init__(self, settings: Settings, writer: LogWriter | None, stack: ExitStack) -> None:
        self._settings, self._stack, self._logger = settings, stack, logs.get_logger()
        self._children = Children()
        self._metrics = GatheredMetrics(self._children)
        count_dropped_lines(self._metrics, writer)
        self._metrics.processes(lambda: len(self._children.ready()))
        self._loop: Future[asyncio.AbstractEventLoop] = Future()
        self._inner: Future[ASGIApp] = Future()
        emit = fan_out(self._metrics, logs.EventLog(self._logger))
        self._live = GatheredLive(self._children)
        places = models_places(settings, self._logger)
        self._everywhere = Everywhere(
            self._change_all,
            lambda: self._children.ask_any(ON_DISK),
            partial(compared, self._children),
            places,
        )
        self._states = (
            None
            if settings.state_dir is None
            else SharedStates(StateFolder(settings.state_dir, self._logger))
        )
        self._service = GatheredService(
            LiveModels(),
            settings,
            self._metrics,
            emit,
            statistics=GatheredStatistics(self._children),
            live=self._live,
            repository=self._everywhere,
            computes=False,
            children=self._children,
        )
        self._certificate = certificate_of(settings, self._logger)
        self._sockets = take_ports(settings, stack)
        self._grpc = take_grpc_port(settings, stack)
        self._admin_port = self._sockets[1].getsockname()[1] if self._sockets[1:] else None
        self._limits, self._connections = SharedBuckets.create(), ConnectionCounts.create()
        self._access = access_of(settings, self._admin_port, self._logger, emit, self._limits.bucket)
        self._captured = stack.enter_context(capture_store(settings, self._metrics, self._logger))
        self._service.labels = stack.enter_context(
            label_book(settings, emit, self._logger, self._fetch_notes, self._captured)
        )
        self._supervisor = Supervisor(
            settings,
            self._children,
            self._start_of,
            (self._sockets[0].fileno(), self._limits.descriptor, self._connections.descriptor),
            self._handlers,
            self._logger,
            self._metrics.process_failed,
        )

    def serve(self) -> int:
        """Start the children and serve until told to stop."""
        settings, service = self._settings, self._service
        found = resources()
        self._logger.info("resources", waiting_bytes=settings.waiting_bytes, **asdict(found))
        service.tracing = open_tracing(server_version())
        app = open_to_origins(create_app(service, self._access, 0, self._relayed), settings.cors_origins)
        self._stack.callback(self._supervisor.close)
        count = settings.process_count
        if count is None:
            most = min(found.cores, MOST_PROCESSES)
            self._supervisor.start(self._divide(most), self._decide, self._divide)
        else:
            self._supervisor.start(self._divide(count), None, self._divide)
        look(service)
        server = _Server(app, service, self._started, self._certificate, self._supervisor, self._sockets[0])
        keep_objects()
        watcher = None
        if settings.watch:
            watcher = Watcher(self._everywhere, settings.watch_interval_seconds, self._logger)
            watcher.start()
        try:
            server.run(self._sockets[1:])
        finally:
            if watcher is not None:
                watcher.close()
        if self._children.given_up is not None and not service.draining:
            self._logger.error("stopped", graceful=False, reason=self._children.given_up)
            return 1
        self._logger.info("stopped", graceful=not server.force_exit)
        return 0

    def _divide(self, count: int) -> list[Share]:
        found = resources()
        allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(found.cores)
        quota = found.cores if found.cores < len(allowed) or not hasattr(os, "sched_setaffinity") else None
        return shares(count, allowed, threads=self._settings.threads, quota=quota)

    def _decide(self, report: Report) -> int:
        """Say how many processes `auto` is, by what the first one reports on one core."""
        found, wanted = resources(), 1
        if report.on_cpu:
            wanted = process_count(
                min(found.cores, MOST_PROCESSES),
                report.image_seconds,
                memory_bytes=found.memory_bytes,
                process_bytes=report.resident_bytes,
            )
        self._logger.info("processes", count=wanted, **asdict(report))
        return wanted

    def _start_of(self, settings: Settings, share: Share) -> Start:
        grpc = self._grpc if share.number == 1 else None
        if grpc is not None:
            share_address(grpc)  # The child takes the same address.
        address = None if grpc is None else grpc.getsockname()[:2]
        # Until it accepts, also in the place of one that has died.
        self._connections.set(share.number, GONE)
        return Start(
            settings,
            share,
            public=self._sockets[0].fileno(),
            limits=self._limits.descriptor,
            connections=self._connections.descriptor,
            grpc_address=address,
            admin_port=self._admin_port,
            started=self._live.started,
        )

    def _handlers(self, number: int) -> dict[str, Handler]:
        """What a child may ask for."""
        states, book = self._states, self._service.labels
        found: dict[str, Handler] = {
            ANSWER: answering(self._inner, self._loop),
            ALL_CHANGE: lambda what, *given: getattr(self._everywhere, what)(*given),
            ALL_STATISTICS: self._statistics,
            LOAD: (lambda *_: {}) if states is None else states.load,
            SAVE: (lambda *_: None) if states is None else partial(states.save, number),
        }
        if book is not None:
            found[NOTES] = partial(take_notes, book.store)
        found[CAPTURED] = (lambda _: None) if self._captured is None else self._captured.keep
        return found

    def _relayed(self, app: ASGIApp) -> ASGIApp:
        """Have a child answer what brings images, and ask all children for what the routes show."""
        inner = Looking(app, self._service)
        self._inner.set_result(inner)
        return Relay(
            inner, brings_images, self._children.next, self._settings, self._service.bodies, self._logger
        )

    def _started(self) -> None:
        self._loop.set_result(asyncio.get_running_loop())
        more: dict[str, Any] = {"processes": self._supervisor.count}
        if self._grpc is not None:
            more["grpc_port"] = self._grpc.getsockname()[1]
        scheme = "http" if self._certificate is None else "https"
        say_listening(self._sockets, scheme, list(self._service.models), more)

    def _statistics(self, model: str, number: str) -> Any:
        self._children.look(("statistics",))
        return self._service.statistics.of(model, number)

    def _fetch_notes(self) -> None:
        """Have the children send the answers that they have noted."""
        asked = [child.link.call(FLUSH) for child in self._children.members()]
        for future in asked:
            try:
                future.result(_FLUSH_SECONDS)
            except (OfframpError, TimeoutError):  # it has gone, or hangs: labels for its last answers fail
                continue

    def _change_all(self, what: str, *given: Any) -> None:
        """Make a change in one process after the other; where the first refuses, nothing has changed.

        A process that cannot follow is replaced by one that starts with what the others have.
        """
        with self._children.changing:
            changed = False
            for child in self._children.members():
                try:
                    child.link.ask(CHANGE, what, *given)
                except ClosedError:
                    continue  # it has gone: the one in its place gets what the others have
                except OfframpError as error:
                    if not changed:
                        raise
                    self._supervisor.replace(child, f"it could not follow the others: {error}")
                else:
                    changed = True
            if not changed:
                raise ClosedError("no process answers: try again")


class _Server(Server):
    """The parent's server: it stops when its children have.

    Args:
        app: the ASGI application.
        service: made unready.
        started: called once the server accepts.
        certificate: for TLS.
        supervisor: of the children.
        public: the socket that they share.
    """

    def __init__(
        self, app: ASGIApp, service: GatheredService, started: Any, certificate: Any,
        supervisor: Supervisor, public: socket.socket,
    ) -> None:  # fmt: skip
        super().__init__(app, service, started, certificate)
        self._gathered, self._supervisor, self._public = service, supervisor, public
        self._signals: list[int] = []
        self._give_up_at = float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take one signal; the children get it at the next tick, for a handler may wait for no lock."""
        super().handle_exit(sig, frame)
        self._signals.append(sig)

    async def on_tick(self, counter: int) -> bool:
        """Say whether to stop accepting: once no child runs."""
        over = await super().on_tick(counter)
        while self._signals:
            self._public.close()  # theirs are open until they have drained
            self._supervisor.stop(self._signals.pop(0))
            self._give_up_at = min(self._give_up_at, time.monotonic() + self._supervisor.stop_seconds)
        if self._gathered.children.given_up is not None and not self._supervisor.alive:
            return True
        if over and self._supervisor.alive and time.monotonic() < self._give_up_at:
            self.should_exit = False
            return False
        return over
