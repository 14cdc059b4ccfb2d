"""What every server process is made of, one that serves alone too."""

import gc
import json
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any

from structlog.typing import FilteringBoundLogger

from serving.capture.capture import Capture, Keeper
from serving.capture.store import FILE as CAPTURE_FILE
from serving.capture.store import CaptureStore
from serving.errors import OfframpError
from serving.events import Listener
from serving.monitoring.label_book import Label, LabelBook
from serving.monitoring.label_store import LabelStore
from serving.repository.live import LiveModels
from serving.settings import DAY_SECONDS, Settings
from serving.system.address_lock import only_server
from serving.telemetry.malloc import set_thresholds
from serving.telemetry.metrics import Metrics
from serving.telemetry.observers import Observers
from serving.telemetry.statistics import Statistics
from serving.telemetry.streams import announce
from serving.web.access.control import Access, default_hosts
from serving.web.access.keys import KeyRing
from serving.web.access.limits import MakeBucket, own_bucket
from serving.web.connection.tls import Certificate
from serving.web.served import ModelChanges
from serving.web.server import Beside, reserve
from serving.web.service import Service

_SWITCH_SECONDS = 0.0005
"""Seconds that a thread may keep the interpreter from the others. The one that computes comes back from ONNX
Runtime while requests are read and answered: at Python's 5 ms the cores can idle that long after a batch."""

CLOSE_SECONDS = 3.0
"""Seconds that models may take to close once nobody waits any more."""


def tune_process() -> None:
    """Set what holds for the whole process, before models are loaded."""
    set_thresholds()
    sys.setswitchinterval(_SWITCH_SECONDS)


def keep_objects() -> None:
    """Let the objects of now stay: a garbage collection over them would hold up every thread for 0.1 s."""
    gc.collect()
    gc.freeze()


def service_of(
    models: LiveModels[Any],
    settings: Settings,
    observers: Observers,
    repository: ModelChanges,
    statistics: Statistics | None = None,
) -> Service:
    """Make the state of the routes of a process that computes.

    Args:
        models: of the process.
        settings: of the process.
        observers: have heard of what the models did.
        repository: changes the models.
        statistics: totals of the models; those of the observers, if None.
    """
    service = Service(
        models,
        settings,
        observers.metrics,
        observers.emit,
        statistics=observers.statistics if statistics is None else statistics,
        live=observers.live,
        repository=repository,
    )
    service.show()
    return service


@contextmanager
def label_book(
    settings: Settings,
    emit: Listener,
    logger: FilteringBoundLogger,
    fetch: Callable[[], None] = lambda: None,
    captured: CaptureStore | None = None,
) -> Iterator[LabelBook | None]:
    """Keep answers that labels may come for, where somebody may send any.

    Args:
        settings: how many, and for how long.
        emit: gets the events of accuracy.
        logger: told of a file that cannot be used.
        fetch: has answers noted that are still on their way from other processes.
        captured: gets the labels of images that it keeps.
    """
    if not takes_labels(settings):
        yield None
        return
    store = LabelStore(
        settings.state_dir,
        keep=settings.label_answers,
        keep_seconds=settings.label_days * DAY_SECONDS,
        logger=logger,
        fetch=fetch,
    )
    book = LabelBook(
        store,
        alarm_delta=settings.accuracy_delta,
        guarantee_delta=settings.guarantee_delta,
        emit=emit,
        logger=logger,
        labelled=partial(_label_captured, captured),
    )
    try:
        yield book
    finally:
        book.close()


def _label_captured(captured: CaptureStore | None, bundle: str, labels: Sequence[Label]) -> None:
    if captured is not None:
        captured.label(bundle, [(label.request, label.image, label.class_index) for label in labels])


@contextmanager
def capture_store(
    settings: Settings, metrics: Metrics, logger: FilteringBoundLogger
) -> Iterator[CaptureStore | None]:
    """Open the file of captured images, where there is to be one; a file that cannot be used is logged.

    Args:
        settings: how many, and where.
        metrics: show how many there are.
        logger: told what is kept, and what cannot be.
    """
    store = None
    if settings.capture and settings.state_dir is not None:
        try:
            store = CaptureStore(
                settings.state_dir,
                most_images=settings.capture,
                most_bytes=settings.capture_bytes,
                logger=logger,
            )
        except (OSError, sqlite3.Error) as error:
            logger.error("capture_unusable", file=CAPTURE_FILE, reason=str(error))
    if store is None:
        yield None
        return
    logger.info("capturing", images=settings.capture, folder=str(settings.state_dir))
    metrics.watch_models("offramp_captured_images", "Images kept to calibrate on (--capture).", store.counts)
    try:
        yield store
    finally:
        store.close()


def capture_to(settings: Settings, keeper: Keeper | None) -> Capture | None:
    """Return what chooses the images that `keeper` gets; None where nobody keeps any."""
    return None if keeper is None else Capture(settings.capture, settings.capture_bytes, keeper)


def takes_labels(settings: Settings) -> bool:
    """Whether anybody may send labels."""
    return settings.allow_admin or settings.admin_port is not None


def access_of(
    settings: Settings,
    admin_port: int | None,
    logger: FilteringBoundLogger,
    emit: Listener,
    bucket: MakeBucket = own_bucket,
) -> Access:
    """Say who may ask.

    Args:
        settings: the keys, the names, the rights of callers.
        admin_port: the number of the second port, once it is taken.
        logger: told of a file of keys that cannot be used.
        emit: gets an event for every request over the limits of its key.
        bucket: makes what counts against these.
    """
    keys = None
    if settings.api_keys_file is not None:
        keys = KeyRing(settings.api_keys_file, logger, emit=emit, bucket=bucket)
    return Access(
        hosts=settings.allowed_hosts or default_hosts(settings.host),
        keys=keys,
        admin_port=admin_port,
        allow_admin=settings.allow_admin,
    )


def access_behind(settings: Settings, logger: FilteringBoundLogger, emit: Listener) -> Access:
    """Say who may ask where another program listens, whose address is not known here.

    Any name of the server will do, unless names were set.

    Args:
        settings: the keys, the names, the rights of callers.
        logger: told of a file of keys that cannot be used.
        emit: gets an event for every request over the limits of its key.
    """
    return replace(access_of(settings, None, logger, emit), hosts=settings.allowed_hosts)


def certificate_of(settings: Settings, logger: FilteringBoundLogger) -> Certificate | None:
    """Read the certificate that callers are shown, where there is one."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return Certificate(settings.tls_cert, settings.tls_key, logger)


def take_ports(settings: Settings, stack: ExitStack) -> list[socket.socket]:
    """Take the port, and the second one where there is one, until `stack` is left."""
    stack.enter_context(only_server(settings.host, settings.port))
    sockets = [stack.enter_context(reserve(settings.host, settings.port))]
    if settings.admin_port is not None:
        stack.enter_context(only_server(settings.admin_host, settings.admin_port))
        admin = reserve(settings.admin_host, settings.admin_port, "--admin-host and --admin-port")
        sockets.append(stack.enter_context(admin))
    return sockets


def take_grpc_port(settings: Settings, stack: ExitStack) -> socket.socket | None:
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


def grpc_server(
    service: Service,
    access: Access,
    reserved: socket.socket,
    certificate: Certificate | None,
    process: int = 0,
) -> Beside:
    """Make the server beside the one for HTTP; only who asks for it needs what it imports."""
    from serving.web.grpc.make import make_server

    return make_server(service, access, reserved, certificate, process)


def say_listening(
    sockets: Sequence[socket.socket],
    scheme: str,
    models: Sequence[str],
    more: Mapping[str, Any],
) -> None:
    """Write the line of JSON to standard output that says where the server listens."""
    host, port = sockets[0].getsockname()[:2]
    line = {"event": "listening", "url": url_of(sockets[0], scheme), "host": host, "port": port}
    line |= {"models": sorted(models)}
    if sockets[1:]:
        line |= {"admin_url": url_of(sockets[1], scheme), "admin_port": sockets[1].getsockname()[1]}
    announce(json.dumps(line | dict(more)))


def url_of(listening: socket.socket, scheme: str) -> str:
    """Return the address that a socket listens on, as a URL."""
    host, port = listening.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
