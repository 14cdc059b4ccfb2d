"""Opens the models of a server as its settings say, and keeps what follows them: states, watch, memory."""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from serving.command_line import SettingsValueError
from serving.engine.arena import shrink_arena
from serving.engine.backends.installed import refuse_missing
from serving.engine.rest import no_rest, rest
from serving.errors import ModelMemoryError, OfframpError, UnusableBundleError
from serving.events import fan_out
from serving.model import Model, ServingConfig
from serving.monitoring.state import StateFolder, StateKeeper, States
from serving.repository.live import EveryVersion, LiveModels, Split, by_state
from serving.repository.loading import load_models, models_places
from serving.repository.opener import Opener, OpenLimits
from serving.repository.places import Places
from serving.repository.repository import Repository, RepositoryOptions
from serving.repository.watcher import Watcher
from serving.scheduler.cores import Cores
from serving.settings import Settings
from serving.telemetry.logs import EventLog
from serving.telemetry.malloc import trim
from serving.telemetry.observers import Observers
from serving.telemetry.version_listener import VersionListener


@dataclass(frozen=True)
class Hosting:
    """The models of a server.

    Attributes:
        live: what requests see.
        repository: changes it.
        keeper: keeps what closed loops have learned; None where nobody does.
        watcher: follows the folder; None where nobody does.
    """

    live: LiveModels[Model]
    repository: Repository[Model]
    keeper: StateKeeper | None
    watcher: Watcher | None

    def close(self, timeout_seconds: float) -> None:
        """Close all models; nobody waits any more, so at most one batch of each is under way."""
        until = time.monotonic() + timeout_seconds
        if self.watcher is not None:
            self.watcher.close()
        self.repository.close(timeout_seconds)
        for model in EveryVersion(self.live, by_state).values():
            model.close(drain=False, timeout_seconds=max(0.0, until - time.monotonic()))
        if self.keeper is not None:
            self.keeper.close()


def host(
    settings: Settings,
    observers: Observers,
    logger: FilteringBoundLogger,
    states: States | None = None,
    cores: Cores | None = None,
) -> Hosting:
    """Load the models that `settings` names.

    Args:
        settings: which, where from, and how they run.
        observers: hear of what they do.
        logger: where they are named.
        states: keeps what closed loops have learned; the folder that the settings name, if there is one.
        cores: that the models take turns on; all that this process may use if None.

    Raises:
        OfframpError: none can be loaded, or the settings do not fit them.
    """
    refuse_missing(settings.runtime, settings.inference_precision)
    live: LiveModels[Model] = LiveModels()
    places = models_places(settings, logger)
    limits = OpenLimits(settings.load_timeout_seconds, settings.max_model_memory)
    open_model = partial(_open, settings, live, observers, logger, places, cores or Cores())
    emit = fan_out(observers.metrics, observers.live)
    opener: Opener[Model] = Opener(open_model, limits, logger, emit)
    load_models(settings, places, live, opener, logger)
    every = EveryVersion(live, by_state)
    if settings.state_dir is not None:
        states = StateFolder(settings.state_dir, logger)
    if states is not None:
        for name, model in every.items():
            states.load(model, name)
    options = RepositoryOptions(
        places=places,
        policies=settings.version_policies,
        evict=settings.evict_models,
        lease_seconds=2 * settings.body_timeout_seconds,
        drain_seconds=settings.shutdown_timeout_seconds,
    )
    repository = Repository(options, live, opener, logger, emit, states=states, free=_free)
    _divert(settings, repository, logger)
    return Hosting(
        live,
        repository,
        None if states is None else StateKeeper(states, every, settings.state_interval_seconds),
        Watcher(repository, settings.watch_interval_seconds, logger) if settings.watch else None,
    )


def _divert(settings: Settings, repository: Repository[Model], logger: FilteringBoundLogger) -> None:
    """Start canaries and shadows; one whose bundle cannot be loaded is left out, which the log says.

    Raises:
        SettingsValueError: one that names what is not there.
    """
    for flag, given, start in (
        ("canary", settings.canaries, repository.set_canary),
        ("shadow", settings.shadows, repository.set_shadow),
    ):
        for name, (version, share) in given.items():
            try:
                start(name, Split(version, share))
            except (UnusableBundleError, ModelMemoryError) as error:
                logger.error(f"{flag}_left_out", model=name, version=version, reason=str(error))
            except OfframpError as error:
                raise SettingsValueError(f"--{flag} {name}={version}:{share:g}: {error}") from error


def _open(
    settings: Settings,
    live: LiveModels[Model],
    observers: Observers,
    logger: FilteringBoundLogger,
    places: Places,
    cores: Cores,
    folder: Path,
    name: str,
    number: str,
) -> Model:
    """Open the bundle of a folder under a name and a version."""
    named = logger if folder.name == name else logger.bind(version=number)
    others = fan_out(observers.statistics.version(name, number), observers.live, EventLog(named))
    model = Model.load(
        folder,
        name=name,
        pause=rest if live else no_rest,
        threads=settings.threads,
        max_queue_rows=settings.max_queue_rows,
        max_batch=settings.max_batch,
        max_batch_bytes=settings.max_batch_bytes,
        providers=settings.providers,
        strict=settings.strict_providers,
        device_features=settings.device_features,
        runtime=settings.runtime,
        inference_precision=settings.inference_precision,
        rules=_rules(settings),
        emit=VersionListener(observers.metrics, others, partial(live.answers, name, number)),
        links_below=places.links_below(folder),
        warm_up_seconds=settings.load_timeout_seconds,
        cores=cores,
    )
    _free()
    return model


def _rules(settings: Settings) -> ServingConfig:
    return ServingConfig(
        default_budget=settings.default_budget,
        policy=settings.policy,
        max_drop=settings.max_drop,
        delta=settings.guarantee_delta,
        controller=settings.controller == "on",
        brownout=settings.brownout == "on",
        brownout_floor=settings.brownout_floor,
        brownout_queue_share=settings.brownout_queue_share,
        sample_share=settings.sample_share,
        sample_seed=settings.sample_seed,
        drift_window_rows=settings.drift_window_images,
    )


def _free() -> None:
    """Give back the memory of a model that is gone, or that was read and tried out."""
    shrink_arena()
    trim()
