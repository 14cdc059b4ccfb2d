"""Loads what places hold when the server starts; what cannot be loaded is refused by name."""

from pathlib import Path

from structlog.typing import FilteringBoundLogger

from serving.command_line import SettingsValueError, program
from serving.errors import BudgetError, BundleError, OfframpError, TermsError, VersionError
from serving.hub.bundles import bundle_snapshot
from serving.hub.names import HubName, is_hub_name
from serving.policy.budget import check_budget
from serving.repository.folder import FoundModel
from serving.repository.live import LiveModels, Slot, Version
from serving.repository.opener import Loaded, Opener, printable
from serving.repository.places import Place, Places
from serving.repository.version_policy import LATEST, policy_of, wanted
from serving.settings import Settings

SAMPLES = Path(__file__).parents[1] / "samples"
"""A folder with a small bundle, in the wheel alone; it is served where there is nothing else."""


def models_places(settings: Settings, logger: FilteringBoundLogger) -> Places:
    """Return where models are loaded from: what was set, or the samples of the wheel.

    The samples are taken where nobody named a folder and the default one does not exist. Repositories of the
    Hub are downloaded, as far as they are not in its local cache.

    Raises:
        HubError: one cannot be used.
        BundleError: a folder that was named for one model is none.
    """
    named = [_named_place(name, place, settings) for name, place in settings.named_models.items()]
    if is_hub_name(settings.models):
        return Places(*named, _hub_place(settings.models, None, settings))
    place = Path(settings.models)
    if named and ("models" not in settings.model_fields_set or not place.exists()):
        return Places(*named)  # an image sets OFFRAMP_MODELS to a folder that need not be there
    if SAMPLES.is_dir() and "models" not in settings.model_fields_set and not place.exists():
        logger.warning(
            "sample_bundles", folder=str(SAMPLES), reason=f"no --models, and no folder {str(place)!r} here"
        )
        place = SAMPLES
    # A path whose last part is a name, for one bundle is called by it. Links stay: what a Kubernetes volume
    # calls by name leads to a folder that starts with dots.
    absolute = place.absolute() if place.name not in ("", "..") else place.resolve()
    return Places(*named, Place.of(absolute))


def _named_place(name: str, place: str, settings: Settings) -> Place:
    if is_hub_name(place):
        found = _hub_place(place, name, settings)
    else:
        found = Place.of(Path(place).absolute(), name, alone=True)
    if not found.folder.is_dir() or not found.models():
        raise BundleError(
            f"--model {name}: expected a bundle, or a folder of its versions (1, 2, …), at {place!r}"
        )
    return found


def _hub_place(text: str, name: str | None, settings: Settings) -> Place:
    named = HubName.read(text)
    folder = bundle_snapshot(named, settings.max_download)
    return Place.of(folder, name or named.name, alone=name is not None)


def load_models(
    settings: Settings,
    places: Places,
    live: LiveModels[Loaded],
    opener: Opener[Loaded],
    logger: FilteringBoundLogger,
) -> None:
    """Load the bundles of all places, each in the versions that the settings want.

    Args:
        settings: which versions, and the defaults that must fit them.
        places: where they lie.
        live: where they go; at least one.
        opener: opens one.
        logger: where each bundle that is refused is named.

    Raises:
        BundleError: there are none, or none can be loaded.
        SettingsValueError: a default model that was not loaded, a default budget that one cannot meet, or a
            version that is not there.
    """
    try:
        found = places.models()
    except OSError:
        found = {}
    if not found:
        raise BundleError(
            f"no bundle in {settings.models!r}: train and export one with `{program('demo')}`, export a "
            f"run of your own with `{program('export')}`, or name another folder with --models"
        )
    unknown = [name for name in settings.version_policies if name not in found]
    if unknown:
        raise SettingsValueError(
            f"--model-version: no model {unknown[0]!r}: expected one of {', '.join(found)}"
        )
    for model in found.values():
        _load(model, policy_of(model.name, settings.version_policies), live, opener, logger)
    if not live:
        raise BundleError(f"none of the {len(found)} bundles can be loaded: {', '.join(found)}")
    _check_defaults(settings, live)


def _load(
    found: FoundModel,
    policy: str,
    live: LiveModels[Loaded],
    opener: Opener[Loaded],
    logger: FilteringBoundLogger,
) -> None:
    """Load a model; of `latest` the newest version that can be loaded, for the last one may be a bad one."""
    try:
        want = wanted(found, policy)
    except VersionError as error:
        raise SettingsValueError(f"--model-version: {error}") from error
    numbers = list(reversed(list(found.versions))) if policy == LATEST else [want.current, *want.others]
    opened: dict[str, Version[Loaded]] = {}
    for number in numbers:
        version = _open(found, number, opener, logger)
        if version is not None:
            opened[number] = version
            if policy == LATEST:
                break
    if opened and (policy == LATEST or want.current in opened):
        current = want.current if want.current in opened else next(iter(opened))
        live.put(Slot(found.name, found.versioned, opened, current))
        opener.announce(live.slot(found.name))
    else:
        for version in opened.values():
            opener.discard(version)


def _open(
    found: FoundModel, number: str, opener: Opener[Loaded], logger: FilteringBoundLogger
) -> Version[Loaded] | None:
    """Open a version; None where it is refused, which is in the log then."""
    try:
        return opener.open(found, number)
    except (BudgetError, TermsError) as error:
        raise SettingsValueError(
            f"--default-budget, --max-drop or --guarantee-delta does not fit {printable(found.name)}: {error}"
        ) from error
    except OfframpError:
        return None


def _check_defaults(settings: Settings, models: LiveModels[Loaded]) -> None:
    if settings.default_model is not None and settings.default_model not in models:
        raise SettingsValueError(
            f"--default-model {settings.default_model!r} was not loaded: expected one of {', '.join(models)}"
        )
    for name, model in models.items():
        try:
            check_budget(settings.default_budget, model.exit_flops, model.exit_seconds)
        except BudgetError as error:
            raise SettingsValueError(f"--default-budget does not fit {name}: {error}") from error
