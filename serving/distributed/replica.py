"""A replica of the server in a process of Ray: the same application, its own models and closed loop."""

import asyncio
import threading
from typing import Any

from serving.answer import Answer
from serving.command_line import SettingsValueError
from serving.distributed.mirror import Mirror, ray_metric
from serving.distributed.scaling import WAITING
from serving.errors import OfframpError
from serving.hosting import host
from serving.options import ClassifyOptions
from serving.processes.parts import CLOSE_SECONDS, access_behind, service_of
from serving.settings import Settings
from serving.telemetry import logs
from serving.telemetry.observers import Observers
from serving.web.app import create_app

_MIRROR_SECONDS = 5.0


class Replica:
    """What Ray Serve makes one of for each replica; `serving.distributed.application` wraps it.

    Args:
        given: settings of `offramp serve`; those not given are the variables' of the machine, or defaults.
        threads: that compute.

    Raises:
        OfframpError: no model can be loaded, or the settings do not fit.
    """

    def __init__(self, given: dict[str, Any], threads: int) -> None:
        # The console and what changes models would speak with one replica of many.
        alone = {"threads": threads, "console": False, "admin_port": None, "allow_admin": False}
        settings = Settings(**{**given, **alone})
        if settings.capture:
            raise SettingsValueError(
                "OFFRAMP_CAPTURE is kept by `offramp serve` alone: expected it unset on the machines of Ray"
            )
        logs.configure(settings.log_format, settings.log_level)
        logger = logs.get_logger()
        observers = Observers.of(logger)
        access = access_behind(settings, logger, observers.emit)
        self._hosting = host(settings, observers, logger)
        self._service = service_of(self._hosting.live, settings, observers, self._hosting.repository)
        self._app = create_app(self._service, access)
        self._ended = threading.Event()
        mirror = Mirror(observers.metrics.registry, ray_metric)
        self._mirroring = threading.Thread(
            target=self._mirror, args=(mirror,), name="offramp-mirror", daemon=True
        )
        self._mirroring.start()

    def __serve_build_asgi_app__(self) -> Any:
        """Return the application that answers HTTP."""
        return self._app

    async def classify(
        self, images: Any, options: ClassifyOptions | str | None = None, model: str | None = None
    ) -> list[Answer]:
        """Classify images, called by a handle of Ray and not over HTTP.

        Args:
            images: as for `offramp.Model.classify`.
            options: a budget, or all that a request may ask for.
            model: its name; the default, or the only one, if None.

        Raises:
            RequestError: they cannot be classified as asked.
        """
        with self._service.lease(model, None, None) as version:
            classifier: Any = version.model
            answers: list[Answer] = await classifier.classify_async(images, options)
        return answers

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Report the images that wait here, to the autoscaler."""
        models = self._service.models.values()
        return {WAITING: float(sum(model.waiting_rows for model in models))}

    def check_health(self) -> None:
        """Say that all is well, or raise; Ray then replaces the replica.

        Raises:
            OfframpError: a computation hangs.
        """
        if (reason := self._service.dead) is not None:
            raise OfframpError(reason)

    async def __del__(self) -> None:
        """Stop, once Ray has let the replica's requests end."""
        self._ended.set()
        await asyncio.get_running_loop().run_in_executor(None, self._hosting.close, CLOSE_SECONDS)

    def _mirror(self, mirror: Mirror) -> None:
        while not self._ended.wait(_MIRROR_SECONDS):
            mirror.copy()
