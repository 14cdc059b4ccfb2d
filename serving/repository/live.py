"""The models that are loaded now: looked up by every request, and changed while they are.

A change makes a new table and puts it in place of the old one, so that whoever reads sees one or the other.
A request has a lease on the version that answers it; a version closes when its last lease is over.
"""

import hashlib
import threading
import time
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from serving.errors import UnknownModelError, VersionError
from serving.repository.folder import ONLY_VERSION
from serving.repository.version_policy import among

M = TypeVar("M")


@dataclass(eq=False)
class Version(Generic[M]):
    """One loaded version of a model.

    Attributes:
        number: of the version.
        model: answers.
        versioned: whether its model has a folder of versions, and callers are told which one answered.
        identity: the hash of its manifest.
        memory_bytes: what loading it took.
        leases: how many requests it is to answer.
        used_at: the second of the clock at which it was asked last, or loaded.
    """

    number: str
    model: M
    versioned: bool = False
    identity: str = ""
    memory_bytes: int = 0
    leases: int = 0
    used_at: float = 0.0
    unused: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Split:
    """A share of a model's requests, and the version that they are for."""

    version: str
    share: float


@dataclass(frozen=True)
class Slot(Generic[M]):
    """What answers to one name.

    Attributes:
        name: of the model.
        versioned: whether its folder holds versions.
        versions: those loaded, by number.
        current: the one that answers who names none.
        previous: the one that did before; None where there was none.
        pinned: whether the current one was chosen by hand: newer ones do not take its place.
        canary: another version, and the share of requests without a version that it answers.
        shadow: another version, or `model` or `model@version`, and the share of the current version's
            requests that it sees, too, when there is time.
    """

    name: str
    versioned: bool
    versions: Mapping[str, Version[M]]
    current: str
    previous: str | None = None
    pinned: bool = False
    canary: Split | None = None
    shadow: Split | None = None

    @property
    def serving(self) -> Version[M]:
        """The current version."""
        return self.versions[self.current]

    def without(self, number: str) -> "Slot[M]":
        """Return it without a version, which is not the current one."""
        kept = {key: version for key, version in self.versions.items() if key != number}
        return replace(self._comparing_none_with(number), versions=kept)

    def turned(self, number: str) -> "Slot[M]":
        """Return it with another of its versions as the current one."""
        if number == self.current:
            return self
        return replace(self._comparing_none_with(number), current=number, previous=self.current)

    def _comparing_none_with(self, number: str) -> "Slot[M]":
        canary = None if self.canary is not None and self.canary.version == number else self.canary
        shadow = None if self.shadow is not None and self.shadow.version == number else self.shadow
        return replace(self, canary=canary, shadow=shadow)

    def chosen(self, number: str | None, request_id: str | None) -> Version[M]:
        """Return the version that a request is for.

        Args:
            number: the version that it names; None or empty where it names none.
            request_id: its name; without one it is never the canary's.

        Raises:
            VersionError: there is no such version.
        """
        if number:
            found = self.versions.get(number)
            if found is None:
                raise VersionError(
                    f"model {self.name!r} has no version {number[:60]!r} loaded: expected "
                    f"{among(sorted(self.versions, key=int))}"
                )
            return found
        canary = self.canary
        if canary is not None and request_id is not None and draw(request_id) < canary.share:
            found = self.versions[canary.version]
            if getattr(found.model, "alive", True):  # a dead canary is no reason to refuse anybody
                return found
        return self.serving


def draw(request_id: str) -> float:
    """Return a number in [0, 1) that depends on a request's name alone.

    >>> round(draw("0-1a2b3c4d-7"), 3) == round(draw("0-1a2b3c4d-7"), 3)
    True
    """
    return int.from_bytes(hashlib.blake2b(request_id.encode(), digest_size=6).digest()) / 2**48


class LiveModels(Mapping[str, M]):
    """The current version of every loaded model, by name; and all others, for who names them.

    Args:
        models: unversioned ones to begin with.
        clock: seconds, monotonic.
    """

    def __init__(
        self, models: Mapping[str, M] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._slots: Mapping[str, Slot[M]] = {
            name: Slot(name, False, {ONLY_VERSION: Version(ONLY_VERSION, model)}, ONLY_VERSION)
            for name, model in (models or {}).items()
        }

    def __getitem__(self, name: str) -> M:
        return self._slots[name].serving.model

    def __iter__(self) -> Iterator[str]:
        return iter(self._slots)

    def __len__(self) -> int:
        return len(self._slots)

    def items(self) -> ItemsView[str, M]:
        """The names and current versions, as they are at this moment."""
        return {name: slot.serving.model for name, slot in self._slots.items()}.items()

    def values(self) -> ValuesView[M]:
        """The current versions, as they are at this moment."""
        return {name: slot.serving.model for name, slot in self._slots.items()}.values()

    @property
    def slots(self) -> Mapping[str, Slot[M]]:
        """The table as it is at this moment."""
        return self._slots

    def answers(self, name: str, number: str) -> bool:
        """Whether a version is the one that answers who names none; while none is loaded, any is."""
        slot = self._slots.get(name)
        return slot is None or slot.current == number

    def slot(self, name: str) -> Slot[M]:
        """Return what answers to a name.

        Raises:
            UnknownModelError: nothing does.
        """
        slot = self._slots.get(name)
        if slot is None:
            loaded = ", ".join(sorted(self._slots))
            raise UnknownModelError(
                f"no model {name[:60]!r} is loaded: expected one of {loaded}"
                if loaded
                else f"no model {name[:60]!r} is loaded, and no other"
            )
        return slot

    @contextmanager
    def lease(
        self, name: str, number: str | None = None, request_id: str | None = None
    ) -> Iterator[Version[M]]:
        """Keep the version that a request is for until the request is over (see `Slot.chosen`).

        Raises:
            UnknownModelError, VersionError: there is none.
        """
        with self._lock:  # between the look and the lease nobody may take it away
            version = self.slot(name).chosen(number, request_id)
            version.leases += 1
        version.used_at = self._clock()
        try:
            yield version
        finally:
            with self._lock:
                version.leases -= 1
                if not version.leases and not self._has(name, version):
                    version.unused.set()

    def put(self, slot: Slot[M]) -> None:
        """Let a slot answer to its name from now on; tells the versions that it no longer has."""
        with self._lock:
            before = self._slots.get(slot.name)
            self._slots = {**self._slots, slot.name: slot}
            for version in slot.versions.values():
                version.used_at = version.used_at or self._clock()
            self._tell(before)

    def remove(self, name: str) -> None:
        """Let nothing answer to a name any more."""
        with self._lock:
            before = self._slots.get(name)
            self._slots = {key: slot for key, slot in self._slots.items() if key != name}
            self._tell(before)

    def _tell(self, before: Slot[M] | None) -> None:
        """Set the event of versions that were taken away and that no request waits for."""
        for version in before.versions.values() if before is not None else ():
            if not version.leases and not self._has(before.name if before else "", version):
                version.unused.set()

    def _has(self, name: str, version: Version[M]) -> bool:
        slot = self._slots.get(name)
        return slot is not None and slot.versions.get(version.number) is version


class EveryVersion(Mapping[str, M]):
    """All loaded versions, each by a key of its own.

    Args:
        live: the models.
        key: names a version of a slot.
    """

    def __init__(self, live: LiveModels[M], key: Callable[[Slot[M], str], str]) -> None:
        self._live, self._key = live, key

    def __getitem__(self, key: str) -> M:
        return self._now()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def items(self) -> ItemsView[str, M]:
        """The keys and models, as they are at this moment."""
        return self._now().items()

    def values(self) -> ValuesView[M]:
        """The models, as they are at this moment."""
        return self._now().values()

    def _now(self) -> dict[str, M]:
        return {
            self._key(slot, number): version.model
            for slot in self._live.slots.values()
            for number, version in slot.versions.items()
        }


def by_current(slot: Slot[M], number: str) -> str:
    """Name the current version by its model, others as `name@version`."""
    return slot.name if number == slot.current else f"{slot.name}@{number}"


def by_state(slot: Slot[M], number: str) -> str:
    """Name a version for good, whether it is the current one or not."""
    return state_key(slot.name, number, versioned=slot.versioned)


def state_key(name: str, number: str, *, versioned: bool) -> str:
    """Name the version of a model, `name@version` where there are versions."""
    return f"{name}@{number}" if versioned else name
