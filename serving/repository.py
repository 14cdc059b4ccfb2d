"""Loads every bundle of a folder; one that cannot be loaded is refused by name, the others still serve."""

from collections.abc import Callable
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


class _Named(Protocol):
    @property
    def name(self) -> str:
        """What requests call it."""

    @property
    def exit_flops(self) -> tuple[int, ...]:
        """FLOPs per image of leaving at each exit."""

    @property
    def providers(self) -> tuple[str, ...]:
        """What it runs on, best first."""

    @property
    def missing_providers(self) -> tuple[str, ...]:
        """What it should have run on and does not."""

    @property
    def features_on(self) -> str:
        """Where its features wait between stages."""


Loaded = TypeVar("Loaded", bound=_Named)


def load_models(
    settings: Settings, load: Callable[[Path], Loaded], logger: FilteringBoundLogger
) -> dict[str, Loaded]:
    """Load the bundles that `settings` names.

    Args:
        settings: where they are, and the defaults that must fit them.
        load: loads one.
        logger: where each bundle, loaded or refused, is named.

    Where nobody named a folder and the default one does not exist, the samples of the wheel are loaded.

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
        try:
            model = load(folder)
        except (BudgetError, TermsError) as error:
            raise SettingsValueError(
                f"--default-budget, --max-drop or --guarantee-delta does not fit {folder.name}: {error}"
            ) from error
        except OfframpError as error:
            logger.error("bundle_refused", bundle=folder.name, reason=str(error))
        else:
            models[model.name] = model
            runs_on = {"providers": model.providers, "features": model.features_on}
            logger.info("bundle_loaded", bundle=folder.name, **runs_on)
            if model.missing_providers:
                logger.warning(
                    "providers_missing", bundle=folder.name, missing=model.missing_providers, **runs_on
                )
    if not models:
        raise BundleError(f"none of the {len(folders)} bundles in {str(place)!r} can be loaded")
    _check_defaults(settings, models)
    return models


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
