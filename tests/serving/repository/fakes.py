"""Models that open at once from folders with a manifest and nothing else, and a repository of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from serving.bundle import Manifest
from serving.bundle.bundle import MANIFEST, peek_manifest
from serving.bundle.manifest import Arithmetic
from serving.errors import BundleError
from serving.events import Event
from serving.repository.live import LiveModels
from serving.repository.loading import load_models
from serving.repository.opener import Opener, OpenLimits
from serving.repository.places import Place, Places
from serving.repository.repository import Repository, RepositoryOptions
from serving.settings import Settings
from tests.bundles import FLOAT32, tiny_manifest

BROKEN = "broken"
MB = 2**20


def write(folder: Path, revision: str = "a") -> Path:
    """Write a folder that a fake opens; of the revision `broken` it is refused."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = tiny_manifest().model_copy(update={"git_revision": revision})
    (folder / MANIFEST).write_bytes(manifest.to_json())
    return folder


@dataclass
class Fake:
    """A model that answers nothing, and notes how it was closed."""

    name: str
    manifest: Manifest
    alive: bool = True
    stalled_seconds: float = 0.0
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    missing_providers: tuple[str, ...] = ()
    features_on: str = "host"
    arithmetic: Arithmetic = FLOAT32
    exit_seconds: tuple[float, ...] = ()
    runtime_milliseconds: Mapping[str, float] = field(default_factory=dict)
    arithmetic_differs: Any = None
    on_submit: Any = None
    closed: list[bool] = field(default_factory=list)
    learned: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        return self.manifest.identity

    @property
    def exit_flops(self) -> tuple[int, ...]:
        return self.manifest.exit_flops

    @property
    def revision(self) -> str | None:
        return self.manifest.git_revision

    def close(self, drain: bool = True, timeout_seconds: float | None = None) -> None:
        self.alive = False
        self.closed.append(drain)

    def state(self) -> dict[str, dict[str, float]]:
        return self.learned

    def restore(self, state: dict[str, dict[str, float]]) -> None:
        self.learned = state


def open_fake(folder: Path, name: str, number: str) -> Fake:
    manifest = peek_manifest(folder)
    if manifest.git_revision == BROKEN:
        raise BundleError(f"bundle {name!r}: segment_1.onnx: is missing")
    return Fake(name, manifest)


class Fixture:
    """A repository over a folder, its events, and how often it gave memory back."""

    def __init__(
        self,
        place: Path,
        *,
        memory: Callable[[], int | None] = lambda: None,
        evict: bool = False,
        open_model: Callable[[Path, str, str], Fake] = open_fake,
        **settings: object,
    ) -> None:
        self.events: list[Event] = []
        self.freed = 0
        self.settings = Settings.model_validate({"models": place, **settings})
        logger = structlog.get_logger()
        self.live: LiveModels[Fake] = LiveModels()
        limits = OpenLimits(memory_bytes=self.settings.max_model_memory)
        self.opener = Opener(open_model, limits, logger, self.events.append, memory)
        places = Places(Place.of(place))
        load_models(self.settings, places, self.live, self.opener, logger)
        options = RepositoryOptions(
            places, policies=self.settings.version_policies, evict=evict, forget_seconds=0.01
        )
        self.repository = Repository(
            options, self.live, self.opener, logger, self.events.append, free=self._free
        )

    def _free(self) -> None:
        self.freed += 1

    def revisions(self, name: str = "pets") -> dict[str, str | None]:
        """The loaded versions of a model, and what is in them."""
        versions = self.live.slot(name).versions
        return {number: version.model.revision for number, version in versions.items()}
