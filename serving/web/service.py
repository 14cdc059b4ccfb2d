"""The state behind the routes: the loaded models, the settings, and the threads that decode."""

import weakref
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from serving.capture.capture import Capture
from serving.errors import ClosedError, ModelChoiceError, UnknownModelError
from serving.events import Listener
from serving.monitoring.label_book import LabelBook
from serving.monitoring.label_store import AnswerNotes
from serving.repository.live import LiveModels, Version
from serving.settings import Settings
from serving.system.resources import resources
from serving.telemetry.live import Live
from serving.telemetry.metrics import Metrics
from serving.telemetry.statistics import Statistics
from serving.telemetry.tracing import Tracing
from serving.web.reading.byte_budget import ByteBudget
from serving.web.reading.decode_pool import DecodePool
from serving.web.reading.decode_threads import DecodeThreads
from serving.web.reading.images import ReadLimits
from serving.web.recent import RecentImages
from serving.web.served import ModelChanges, ServedModel


@dataclass
class Service:
    """One running server's state, shared by its routes.

    Args:
        models: the loaded models by name.
        settings: limits and defaults.
        metrics: what `/metrics` shows.
        emit: gets an event for every refused request.
        pool: the threads that decode.
        draining: True once the server is to stop: it still answers, but is not ready.
        statistics: totals of the models; its maker connects it to the core's events.
        labels: takes labels for answers; None where nobody may send any, or another process takes them.
        noted_elsewhere: takes answers down for another process, which takes the labels; None where none does.
        capture: chooses images to be kept; None where none are.
        tracing: makes spans; None where nobody gathers them.
        live: what the models did of late.
        repository: changes the models; None where they stay as they are.
        computes: whether images are answered in this process.
    """

    models: Mapping[str, ServedModel]
    settings: Settings
    metrics: Metrics
    emit: Listener
    pool: DecodePool = field(init=False)
    bodies: ByteBudget = field(init=False)
    read_limits: ReadLimits = field(init=False)
    recent: RecentImages | None = field(init=False)
    draining: bool = False
    statistics: Statistics = field(default_factory=Statistics)
    live: Live = field(default_factory=Live)
    labels: LabelBook | None = None
    noted_elsewhere: AnswerNotes | None = None
    capture: Capture | None = None
    repository: ModelChanges | None = None
    loaded: LiveModels[ServedModel] = field(init=False)
    tracing: Tracing | None = None
    computes: bool = True

    def __post_init__(self) -> None:
        models = self.models
        self.models = self.loaded = models if isinstance(models, LiveModels) else LiveModels(models)
        settings = self.settings
        self.pool = self._decode_pool()
        # Applications come and go in one process, such as in tests: threads do not outlive theirs.
        weakref.finalize(self, self.pool.close).atexit = False
        self.bodies = ByteBudget(settings.waiting_bytes)
        self.recent = RecentImages(settings.keep_recent) if settings.keep_recent else None
        self.read_limits = ReadLimits(settings.max_images, settings.max_pixels, settings.max_request_pixels)

    def _decode_pool(self) -> DecodePool:
        threads, most = self.settings.decode_threads, self.settings.max_queue_rows
        if threads == "auto":
            auto = DecodeThreads(resources().cores, self.emit)
            return DecodePool(auto.count, most, sizing=auto.measure)
        return DecodePool(max(1, threads), most)

    @property
    def notes(self) -> AnswerNotes | None:
        """What takes answers down that labels may come for; None where none may."""
        return self.noted_elsewhere if self.labels is None else self.labels.store

    def show(self) -> None:
        """Put what is waiting here among the metrics."""
        watch = self.metrics.watch
        watch("offramp_decode_threads", "Threads that decode images.", lambda: self.pool.threads)
        watch("offramp_decode_waiting", "Requests that wait to be decoded.", lambda: self.pool.waiting)
        watch(
            "offramp_decode_stalled_seconds",
            "For how long images have waited to be decoded, and none was; 0 where none wait.",
            lambda: self.pool.stalled_seconds,
        )
        watch("offramp_waiting_body_bytes", "Bytes of request bodies held.", lambda: self.bodies.held_bytes)
        watch(
            "offramp_stalled_seconds",
            "For how long a model has had work and finished none, the longest of all models.",
            lambda: max((model.stalled_seconds for model in self.models.values()), default=0.0),
        )

        self.metrics.watch_models(
            "offramp_queue_rows",
            "Images that were admitted and have no answer yet.",
            lambda: {name: model.waiting_rows for name, model in self.models.items()},
        )
        self.metrics.watch_models(
            "offramp_queue_capacity_rows",
            "The most images that may wait (--max-queue-rows).",
            lambda: dict.fromkeys(self.models, self.settings.max_queue_rows),
        )

    def choose(self, name: str | None) -> ServedModel:
        """Return the model of that name; without a name the default, or the only one there is.

        Raises:
            UnknownModelError: no such model.
            ModelChoiceError: no name, no default, several models.
        """
        return self.loaded.slot(self.name_of(name)).serving.model

    def name_of(self, name: str | None) -> str:
        """Return the name of the model that a request is for, whether there is one of that name or not.

        Raises:
            ModelChoiceError: no name, no default, and not one model.
        """
        name = name or self.settings.default_model
        if name is not None:
            return name
        names = sorted(self.loaded)
        if not names:
            raise UnknownModelError("no model is loaded")
        if len(names) > 1:
            raise ModelChoiceError(f"several models are loaded: add ?model= with one of {', '.join(names)}")
        return names[0]

    def lease(
        self, name: str | None, version: str | None, request_id: str | None
    ) -> AbstractContextManager[Version[ServedModel]]:
        """Keep the version of a model that a request is for until the request is over.

        Args:
            name: of the model; None for the default, or the only one.
            version: the one that the request names; None or empty where it names none.
            request_id: the server's own name for the request, by which a canary gets its share.

        Raises:
            UnknownModelError, VersionError, ModelChoiceError: there is none.
        """
        return self.loaded.lease(self.name_of(name), version, request_id)

    def refuse_if_stalled(self, model: ServedModel) -> None:
        """Turn a request away from a model that does not answer, where it would wait for ever.

        Raises:
            ClosedError: the model has work, and has finished none of it for too long.
        """
        if model.stalled_seconds > self.settings.stall_seconds:
            raise ClosedError(f"the worker of model {model.name!r} hangs")

    @property
    def unready(self) -> str | None:
        """Why the server should get no traffic now; None where it should.

        One model that can be asked is enough: the others are 503 themselves, and `offramp_model_up` says so.
        """
        if self.draining:
            return "the server is shutting down"
        stall_seconds = self.settings.stall_seconds
        if self.pool.stalled_seconds > stall_seconds:
            return "the threads that decode hang"
        models = self.models.items()
        if not models:
            return "no model is loaded"
        out = [name for name, model in models if not model.alive or _hangs(model, stall_seconds)]
        if len(out) < len(models):
            return None
        return f"the worker of {', '.join(sorted(out))} has stopped or hangs"

    @property
    def dead(self) -> str | None:
        """Why the process should be ended and started again; None where it is well.

        A thread that hangs in a computation cannot be ended without the process.
        """
        patience = 2 * self.settings.stall_seconds
        if self.pool.stalled_seconds > patience:
            return "the threads that decode hang"
        hung = sorted(name for name, model in self.models.items() if _hangs(model, patience))
        return f"the worker of {', '.join(hung)} hangs" if hung else None


def _hangs(model: ServedModel, seconds: float) -> bool:
    return model.stalled_seconds > seconds
