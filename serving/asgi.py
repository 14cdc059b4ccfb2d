"""An ASGI application for people who run uvicorn, gunicorn or hypercorn themselves.

    OFFRAMP_MODELS=exported_models uvicorn --factory serving.asgi:app_from_environment

Settings are the variables of `offramp serve`. What that command keeps beyond the application, deadlines on
receiving, hang-ups, the drain, is the other server's then; docs/scaling.md lists it.
"""

import asyncio
from contextlib import ExitStack

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.command_line import SettingsValueError
from serving.processes.alone import Alone
from serving.processes.parts import CLOSE_SECONDS, access_behind, tune_process
from serving.settings import Settings, read_settings
from serving.telemetry import logs
from serving.telemetry.log_writer import LogWriter
from serving.telemetry.observers import Observers
from serving.web.app import create_app, open_to_origins

_THE_SERVERS = ("admin_port", "grpc_port", "tls_cert", "tls_key")
"""Settings of ports and certificates, which the other server has in its own way."""


def app_from_environment() -> ASGIApp:
    """Load the models that the environment names, and return the application over them.

    Raises:
        SettingsValueError: a variable that cannot be used, or one that only `offramp serve` can keep.
        OfframpError: no model can be loaded.
    """
    settings = read_settings([])
    refuse_settings(settings)
    writer = logs.configure(settings.log_format, settings.log_level)
    tune_process()
    return ServedApp(settings, writer)


def refuse_settings(settings: Settings) -> None:
    """Refuse what an application cannot keep without its server.

    Raises:
        SettingsValueError: names the variable.
    """
    for name in _THE_SERVERS:
        if getattr(settings, name) is not None:
            raise SettingsValueError(
                f"OFFRAMP_{name.upper()} is kept by `offramp serve` alone: expected it unset, with ports and "
                "certificates set by the server that runs the application"
            )
    if settings.process_count != 1:
        raise SettingsValueError(
            "OFFRAMP_PROCESSES is kept by `offramp serve` alone: expected it unset, with the number of "
            "workers set by the server that runs the application"
        )


class ServedApp:
    """The application, and what has to be closed after it: the server says when, by ASGI's lifespan.

    Args:
        settings: of the models and the limits; those of addresses do not count.
        writer: of the log; closed at the end.

    Raises:
        OfframpError: no model can be loaded.
    """

    def __init__(self, settings: Settings, writer: LogWriter | None = None) -> None:
        logger = logs.get_logger()
        observers = Observers.of(logger, writer)
        access = access_behind(settings, logger, observers.emit)
        self._stack = ExitStack()
        if writer is not None:
            self._stack.callback(writer.close)
        alone = Alone(settings, observers, logger, self._stack)
        self._stack.callback(alone.close, CLOSE_SECONDS)
        self._service = alone.service
        self._app = open_to_origins(create_app(alone.service, access), settings.cors_origins)
        alone.begin()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or stop when the server does."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Follow the server's life: the models are loaded already."""
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._service.draining = True
        await asyncio.to_thread(self._stack.close)
        await send({"type": "lifespan.shutdown.complete"})
