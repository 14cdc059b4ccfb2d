"""Changes the loaded models while they answer: load, replace, unload, promote, roll back.

Every change is made by one thread, one at a time. A new version is opened beside the old one and put in its
place by one assignment; whatever fails before that changes nothing.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Generic

from structlog.typing import FilteringBoundLogger

from serving.bundle.bundle import peek_manifest
from serving.bundle.manifest import Manifest
from serving.errors import (
    BundleError,
    ModelMemoryError,
    OfframpError,
    RepositoryError,
    UnknownModelError,
    UnusableBundleError,
    VersionError,
)
from serving.events import Listener
from serving.monitoring.state import States
from serving.repository.change_queue import ChangeQueue
from serving.repository.comparing import Comparing, address
from serving.repository.comparison import Compared
from serving.repository.folder import FoundModel
from serving.repository.in_thread import ResultT
from serving.repository.live import LiveModels, Slot, Split, Version, state_key
from serving.repository.opener import Loaded, Opener
from serving.repository.places import Places
from serving.repository.retiring import Retiring
from serving.repository.version_policy import among, policy_of, wanted


@dataclass(frozen=True)
class RepositoryOptions:
    """How models change.

    Attributes:
        places: where they lie.
        policies: which versions of a model are loaded, by its name (see `wanted`); else the latest.
        evict: whether models that were asked longest ago make room for new ones.
        lease_seconds: how long a replaced version waits for requests whose images are still on their way.
        drain_seconds: how long it may take to answer those that it has.
        forget_seconds: how long to wait then until nobody holds its model any more.
    """

    places: Places
    policies: Mapping[str, str] | None = None
    evict: bool = False
    lease_seconds: float = 60.0
    drain_seconds: float = 20.0
    forget_seconds: float = 5.0


@dataclass(frozen=True)
class OnDisk:
    """A version in the folder that is not loaded.

    Attributes:
        name: of the model.
        version: its number.
        loading: whether it is being loaded.
        reason: why it is not loaded.
    """

    name: str
    version: str
    loading: bool
    reason: str


class Repository(Generic[Loaded]):
    """Changes the models of a server.

    Args:
        options: where they are, and how they change.
        live: what requests see.
        opener: opens versions.
        logger: where changes are named.
        emit: told of what is unloaded.
        states: keeps what closed loops have learned; None where nobody does.
        free: gives memory back once a model is gone.

    Attributes:
        comparing: what canaries and shadows showed.
    """

    def __init__(
        self,
        options: RepositoryOptions,
        live: LiveModels[Loaded],
        opener: Opener[Loaded],
        logger: FilteringBoundLogger,
        emit: Listener,
        *,
        states: States | None = None,
        free: Callable[[], None] = lambda: None,
    ) -> None:
        self._options, self._live, self._opener = options, live, opener
        self._logger, self._emit, self._states, self._free = logger, emit, states, free
        self.comparing = Comparing(live, emit)
        self._turn = threading.Lock()
        self._queue = ChangeQueue()
        self._loading: tuple[str, str] | None = None
        self._refused: dict[tuple[str, str], str] = {}
        self._retiring: Retiring[Loaded] = Retiring(
            live,
            opener,
            logger,
            emit,
            lease_seconds=options.lease_seconds,
            drain_seconds=options.drain_seconds,
            forget_seconds=options.forget_seconds,
            states=states,
            free=free,
        )

    @property
    def places(self) -> Places:
        """Where the models lie."""
        return self._options.places

    def start(self, change: Callable[[], ResultT]) -> Future[ResultT]:
        """Make a change in a thread of its own, after those that were asked for before.

        Raises:
            OverloadedError: too many wait.
        """
        return self._queue.start(change)

    def load(self, name: str, number: str | None = None) -> None:
        """Load a model, or replace it by what is in its folder now; the same bundle is not opened twice.

        Args:
            name: of the model.
            number: a version that is to be loaded beside the others, for who names it; None loads what the
                settings want, and lets that answer.

        Raises:
            UnknownModelError, VersionError: it is not in the folder.
            UnusableBundleError, ModelMemoryError: it cannot be loaded; what answered before still does.
        """
        with self._turn:
            found = self._find(name)
            if number is not None:
                self._beside(found, number)
                return
            want = wanted(found, policy_of(name, self._options.policies or {}))
            versions = self._all_opened(found, (want.current, *want.others))
            slot = self._joined(found, versions)
            kept = {n: v for n, v in slot.versions.items() if n in versions or n != slot.current}
            self._put(replace(slot.turned(want.current), versions=kept, pinned=False))

    def follow(self, name: str) -> None:
        """Load what a model's folder has now, but stay with a version that was promoted by hand.

        Raises:
            UnknownModelError, VersionError, UnusableBundleError, ModelMemoryError: as `load`.
        """
        slot = self._live.slots.get(name)
        self.load(name, slot.current if slot is not None and slot.pinned else None)

    def unload(self, name: str, number: str | None = None) -> None:
        """Unload a model, or one of its versions that is not the current one.

        Raises:
            UnknownModelError, VersionError: it is not loaded.
            RepositoryError: it is the version that answers.
        """
        with self._turn:
            slot = self._live.slot(name)
            if number is None:
                self._live.remove(name)
                self.comparing.forget(name)
                self._retiring.retire_lost(slot)
                return
            slot.chosen(number, None)
            if number == slot.current:
                raise RepositoryError(
                    f"version {number} answers for {name!r}: promote another one first, or unload the model"
                )
            self._put(slot.without(number))

    def promote(self, name: str, number: str) -> None:
        """Let a version answer who names none; it is loaded if it was not. The one before stays loaded.

        Raises:
            UnknownModelError, VersionError, UnusableBundleError, ModelMemoryError: as `load`.
        """
        with self._turn:
            self._promote(name, number)

    def rollback(self, name: str) -> None:
        """Let the version answer that did before the last change.

        Raises:
            UnknownModelError: no such model is loaded.
            RepositoryError: there was none.
            UnusableBundleError, ModelMemoryError: it cannot be loaded again.
        """
        with self._turn:
            previous = self._live.slot(name).previous
            if previous is None:
                raise RepositoryError(f"no version of {name!r} answered before the current one")
            self._promote(name, previous)

    def set_canary(self, name: str, canary: Split | None) -> None:
        """Send a share of the requests that name no version to another one; None ends it.

        Raises:
            UnknownModelError, VersionError, UnusableBundleError, ModelMemoryError: as `load`.
            RepositoryError: it is the version that answers.
        """
        with self._turn:
            slot = self._live.slot(name)
            if canary is not None:
                if canary.version == slot.current:
                    raise RepositoryError(f"version {canary.version} answers for {name!r} already")
                slot = self._holding(slot, canary.version)
            self._put(replace(slot, canary=canary))
            self._name_split("canary", name, canary)

    def set_shadow(self, name: str, shadow: Split | None) -> None:
        """Let another version, or another model, see a share of a model's requests; None ends it.

        Args:
            name: of the model.
            shadow: the number of a version, or `model` or `model@version`, and the share.

        Raises:
            UnknownModelError, VersionError, UnusableBundleError, ModelMemoryError: as `load`.
            RepositoryError: it is the version that answers, or one that takes other images or knows other
                classes.
        """
        with self._turn:
            slot = self._live.slot(name)
            if shadow is not None:
                other_name, number = address(name, shadow)
                if other_name == name and number is not None:
                    slot = self._holding(slot, number)
                other = self._live.slot(other_name).chosen(number, None)
                if other is slot.serving:
                    raise RepositoryError(f"{shadow.version} answers for {name!r} already")
                _refuse_unlike(slot.serving.model.manifest, other.model.manifest, shadow.version, name)
            self._put(replace(slot, shadow=shadow))
            self._name_split("shadow", name, shadow)

    def compared(self, name: str) -> list[Compared]:
        """Return how canary and shadow of a model do, or did last."""
        return self.comparing.of(name)

    def on_disk(self) -> list[OnDisk]:
        """List the versions in the folder that are not loaded."""
        try:
            found = self.places.models()
        except (OSError, BundleError):
            return []
        slots, loading = self._live.slots, self._loading
        missing = [
            (model.name, number)
            for model in found.values()
            for number in model.versions
            if model.name not in slots or number not in slots[model.name].versions
        ]
        return [
            OnDisk(name, number, (name, number) == loading, self._refused.get((name, number), "not loaded"))
            for name, number in missing
        ]

    def close(self, timeout_seconds: float) -> None:
        """Wait for versions that still answer what they have."""
        self._retiring.wait(timeout_seconds)

    def _find(self, name: str) -> FoundModel:
        try:
            found = self.places.models()
        except OSError as error:
            raise UnusableBundleError(f"the folder of models cannot be read: {error.strerror}") from error
        except BundleError as error:
            raise UnusableBundleError(str(error)) from error
        if name not in found:
            names = ", ".join(found) or "nothing"
            raise UnknownModelError(f"no bundle {name[:60]!r} in the folder of models, which has {names}")
        return found[name]

    def _all_opened(self, found: FoundModel, numbers: Sequence[str]) -> dict[str, Version[Loaded]]:
        """Return versions that are loaded already or opened now; all of them, or none.

        Raises:
            UnusableBundleError, ModelMemoryError: one cannot be.
        """
        opened: dict[str, Version[Loaded]] = {}
        try:
            for number in numbers:
                opened[number] = self._opened(found, number)
        except OfframpError:
            before = self._live.slots.get(found.name)
            for version in opened.values():
                if before is None or version not in before.versions.values():
                    self._opener.discard(version)
            self._free()
            raise
        return opened

    def _opened(self, found: FoundModel, number: str) -> Version[Loaded]:
        """Return a version that is loaded already, or open it.

        Raises:
            UnusableBundleError, ModelMemoryError: it cannot be.
        """
        before = self._live.slots.get(found.name)
        loaded = None if before is None else before.versions.get(number)
        try:
            folder = found.versions[number]
            identity = peek_manifest(folder, self.places.links_below(folder)).identity
            if loaded is not None and loaded.identity == identity and loaded.model.alive:
                return loaded
            self._loading = (found.name, number)
            version = self._open(found, number)
        except OfframpError as error:
            self._refused[found.name, number] = str(error)
            if isinstance(error, ModelMemoryError):
                raise
            raise UnusableBundleError(str(error)) from error
        finally:
            self._loading = None
        self._refused.pop((found.name, number), None)
        if self._states is not None:
            self._states.load(version.model, state_key(found.name, number, versioned=found.versioned))
        return version

    def _open(self, found: FoundModel, number: str) -> Version[Loaded]:
        """Open a version; where memory is missing and may be taken, the longest unused models go first."""
        while True:
            try:
                return self._opener.open(found, number)
            except ModelMemoryError:
                self._free()
                if not self._options.evict or not self._evict(found.name):
                    raise

    def _evict(self, but: str) -> bool:
        """Unload what was asked longest ago, and wait until it is gone; False where there is nothing else."""
        slots = self._live.slots
        spare = [
            (version.used_at, name, number)
            for name, slot in slots.items()
            for number, version in slot.versions.items()
            if name != but and (number != slot.current or len(slot.versions) == 1)
        ]
        if not spare:
            return False
        _, name, number = min(spare)
        slot = slots[name]
        self._logger.warning("model_evicted", bundle=name, version=number, for_bundle=but)
        evicted = slot.versions[number]
        if number == slot.current:
            self._live.remove(name)
            self.comparing.forget(name)
        else:
            self._live.put(slot.without(number))
            self.comparing.attach(self._live.slot(name))
        self._retiring.retire_lost(slot)
        self._retiring.wait_for(evicted)
        return True

    def _beside(self, found: FoundModel, number: str) -> None:
        """Load a version for who names it; the current one goes on."""
        if number not in found.versions:
            raise VersionError(
                f"model {found.name!r} has no version {number[:60]!r} in its folder: "
                f"expected {among(found.versions)}"
            )
        self._put(self._joined(found, {number: self._opened(found, number)}))

    def _promote(self, name: str, number: str) -> None:
        slot = self._holding(self._live.slot(name), number)
        self._put(replace(slot.turned(number), pinned=True))

    def _holding(self, slot: Slot[Loaded], number: str) -> Slot[Loaded]:
        """Return a slot with a version, which is loaded if it was not."""
        if number in slot.versions:
            return slot
        self._beside(self._find(slot.name), number)
        return self._live.slot(slot.name)

    def _name_split(self, kind: str, name: str, split: Split | None) -> None:
        version, share = (None, None) if split is None else (split.version, split.share)
        self._logger.info(kind, model=name, version=version, share=share)

    def _joined(self, found: FoundModel, versions: Mapping[str, Version[Loaded]]) -> Slot[Loaded]:
        """Put versions beside those that are loaded; the first is the current one where none is."""
        before = self._live.slots.get(found.name)
        if before is None or before.versioned != found.versioned:
            return Slot(found.name, found.versioned, versions, next(iter(versions)))
        return replace(before, versions={**before.versions, **versions})

    def _put(self, slot: Slot[Loaded]) -> None:
        before = self._live.slots.get(slot.name)
        self._live.put(slot)
        self.comparing.attach(slot)
        if before is None or before.serving is not slot.serving:
            self._logger.info("version_current", bundle=slot.name, version=slot.current)
            self._opener.announce(slot)
        if before is not None:
            self._retiring.retire_lost(before)


def _refuse_unlike(one: Manifest, two: Manifest, version: str, name: str) -> None:
    """Refuse a shadow that cannot take the same images, or whose classes have other names.

    Raises:
        RepositoryError: the text says which.
    """
    for what, ours, theirs in (
        ("images", one.preprocessing, two.preprocessing),
        ("classes", sorted(one.classes), sorted(two.classes)),
    ):
        if ours != theirs:
            raise RepositoryError(f"{version} cannot be a shadow of {name!r}: it has other {what}")
