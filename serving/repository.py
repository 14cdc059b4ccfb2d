"""Loads every bundle of a folder; one that cannot be loaded is refused by name, the others still serve."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from structlog.typing import FilteringBoundLogger

from serving.bundle import bundle_folders
from serving.command_line import SettingsValueError, program
from serving.errors import BudgetError, BundleError, OfframpError, TermsError
from serving.policy.budget import parse_budget
from serving.settings import Settings

SAMPLES = Path(__file__).parent / "samples"
"""A folder with a small bundle, in the wheel alone; it is served where there is nothing else."""

_NAME_CHARACTERS = 200
_GRACE_SECONDS = 5.0  # for what an engine does to end a run that takes too long


class _Named(Protocol):
    @property
    def name(self) -> str:
        """Its name in requests."""

    @property
    def exit_flops(self) -> tuple[int, ...]:
        """FLOPs per image of leaving at each exit."""

    @property
    def providers(self) -> tuple[str, ...]:
        """Its execution providers, best first."""

    @property
    def missing_providers(self) -> tuple[str, ...]:
        """Execution providers that were asked for and are not used."""

    @property
    def features_on(self) -> str:
        """Place of its features between stages: `host` or `device`."""


Loaded = TypeVar("Loaded", bound=_Named)


def load_models(
    settings: Settings, load: Callable[[Path], Loaded], logger: FilteringBoundLogger
) -> dict[str, Loaded]:
    """Load the bundles that `settings` names.

    Args:
        settings: where they are, and the defaults that must fit them.
        load: loads one.
        logger: where each bundle, loaded or refused, is named.

    If no folder was named and the default one does not exist, the samples of the wheel are loaded.

    Returns:
        The models by their folder's name; at least one.

    Raises:
        BundleError: there are none, or none can be loaded.
        SettingsValueError: a default model that was not loaded, or a default budget that one cannot meet.
    """
    place = settings.models
    if SAMPLES.is_dir() and "models" not in settings.model_fields_set and not place.exists():
        logger.warning(
            "sample_bundles", folder=str(SAMPLES), reason=f"no --models, and no folder {str(place)!r} here"
        )
        place = SAMPLES
    folders = bundle_folders(_named(place)) if place.is_dir() else []
    if not folders:
        raise BundleError(
            f"no bundle in {str(place)!r}: train and export one with `{program('demo')}`, export a run of "
            f"your own with `{program('export')}`, or name another folder with --models"
        )
    models: dict[str, Loaded] = {}
    for folder in folders:
        bundle = printable(folder.name)
        logger.info("bundle_loading", bundle=bundle)
        try:
            check_name(folder.name)
            model = within(settings.load_timeout_seconds + _GRACE_SECONDS, partial(load, folder))
        except (BudgetError, TermsError) as error:
            raise SettingsValueError(
                f"--default-budget, --max-drop or --guarantee-delta does not fit {bundle}: {error}"
            ) from error
        except OfframpError as error:
            logger.error("bundle_refused", bundle=bundle, reason=str(error))
        except Exception as error:  # one bundle, whatever is wrong with it, does not keep the others
            reason = f"{type(error).__name__}: {error}"
            logger.error("bundle_refused", bundle=bundle, reason=reason, exc_info=error)
        else:
            models[model.name] = model
            runs_on = {"providers": model.providers, "features": model.features_on}
            logger.info("bundle_loaded", bundle=bundle, **runs_on)
            if model.missing_providers:
                logger.warning("providers_missing", bundle=bundle, missing=model.missing_providers, **runs_on)
    if not models:
        raise BundleError(f"none of the {len(folders)} bundles in {str(place)!r} can be loaded")
    _check_defaults(settings, models)
    return models


def check_name(name: str) -> None:
    """Refuse a folder's name that cannot be a model's: it is asked for in URLs, and is a label of metrics.

    Raises:
        BundleError: not UTF-8, not printable, or over 200 characters.
    """
    if not name.isprintable() or len(name) > _NAME_CHARACTERS:
        raise BundleError(
            f"expected a name of at most {_NAME_CHARACTERS} printable characters, in UTF-8, "
            f"found {printable(name)[:_NAME_CHARACTERS]!r}: rename the folder"
        )


def printable(name: str) -> str:
    """Return a file's name as it can be shown and sent: bytes that are no UTF-8 are escaped."""
    return os.fsencode(name).decode(errors="backslashreplace")


def within(seconds: float, call: Callable[[], Loaded]) -> Loaded:
    """Make a call in a thread and wait for it, but not for ever.

    Raises:
        BundleError: it is not over in time; the thread is left behind.
    """
    future: Future[Loaded] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="offramp-load", daemon=True).start()
    try:
        return future.result(seconds)
    except TimeoutError:
        if future.done():
            raise
        raise BundleError(
            f"not loaded within {seconds:g} s (--load-timeout-seconds); its thread is left behind"
        ) from None


def _named(models: Path) -> Path:
    """Return an absolute path whose last part is a name, for one bundle is called by it.

    Links stay: what a Kubernetes volume calls by name leads to a folder that starts with dots.
    """
    return models.absolute() if models.name not in ("", "..") else models.resolve()


def _check_defaults(settings: Settings, models: dict[str, Loaded]) -> None:
    if settings.default_model is not None and settings.default_model not in models:
        raise SettingsValueError(
            f"--default-model {settings.default_model!r} was not loaded: expected one of {', '.join(models)}"
        )
    for name, model in models.items():
        try:
            parse_budget(settings.default_budget, model.exit_flops)
        except BudgetError as error:
            raise SettingsValueError(f"--default-budget does not fit {name}: {error}") from error
