"""Attaches comparisons to models while a canary or a shadow runs, and keeps the last one of each model."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from serving.events import Event
from serving.repository.comparison import Compared, Comparison, Role
from serving.repository.live import LiveModels, Slot, Split, Version
from serving.repository.shadow_traffic import ShadowTraffic

Watch = Callable[[Any, Any, Any], None]


class Watchable(Protocol):
    """A model whose requests can be watched (`serving.model.Model`)."""

    on_submit: Watch | None
    """Told of the images, what is asked for, and the request, of every request that is admitted."""


@dataclass
class _Running:
    """A comparison under way: what is compared, and for a shadow what brings it its sample."""

    what: tuple[object, ...]
    comparison: Comparison
    traffic: ShadowTraffic | None = None


class Comparing:
    """Watches the versions of every model that are to be compared.

    Args:
        live: the models.
        emit: gets what comparisons count.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        live: LiveModels[Any],
        emit: Callable[[Event], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._live, self._emit, self._clock = live, emit, clock
        self._running: dict[tuple[str, Role], _Running] = {}
        self._last: dict[tuple[str, Role], Comparison] = {}

    def of(self, name: str) -> list[Compared]:
        """Return the comparisons of a model as they are now, those that run or the last of their kind."""
        roles: tuple[Role, Role] = ("canary", "shadow")
        return [found.now() for role in roles if (found := self._last.get((name, role))) is not None]

    def attach(self, slot: Slot[Any]) -> None:
        """Watch what a slot compares now and nothing else; a comparison that stays the same goes on."""
        watches: dict[Version[Any], list[Watch]] = {version: [] for version in slot.versions.values()}
        if (canary := self._canary(slot)) is not None:
            watches[slot.serving].append(self._counting(canary.comparison, "current"))
            other = slot.versions[canary.comparison.other.version]
            watches[other].append(self._counting(canary.comparison, "canary"))
        shadow = self._shadow(slot)
        if shadow is not None and shadow.traffic is not None:
            watches[slot.serving] += [
                self._counting(shadow.comparison, "current"),
                shadow.traffic.follow,
            ]
        for version, each in watches.items():
            version.model.on_submit = partial(_tell, each) if each else None

    def forget(self, name: str) -> None:
        """Keep nothing of a model that is gone."""
        for role in ("canary", "shadow"):
            self._end((name, role))
            self._last.pop((name, role), None)

    def _canary(self, slot: Slot[Any]) -> _Running | None:
        key: tuple[str, Role] = (slot.name, "canary")
        split = slot.canary
        if split is None:
            self._end(key)
            return None
        what = (slot.serving, slot.versions[split.version], split)
        return self._going_on(key, what) or self._begin(key, slot, split, what)

    def _shadow(self, slot: Slot[Any]) -> _Running | None:
        key: tuple[str, Role] = (slot.name, "shadow")
        target = slot.shadow
        if target is None:
            self._end(key)
            return None
        what = (slot.serving, target)
        if (running := self._going_on(key, what)) is not None:
            return running
        running = self._begin(key, slot, target, what)
        other = partial(self._live.lease, *address(slot.name, target))
        running.traffic = ShadowTraffic(slot.serving.model, other, running.comparison, clock=self._clock)
        return running

    def _going_on(self, key: tuple[str, Role], what: tuple[object, ...]) -> _Running | None:
        running = self._running.get(key)
        if running is None or running.what == what:
            return running
        self._end(key)
        return None

    def _begin(
        self, key: tuple[str, Role], slot: Slot[Any], split: Split, what: tuple[object, ...]
    ) -> _Running:
        comparison = Comparison(slot.name, key[1], slot.current, split.version, split.share, self._emit)
        self._last[key] = comparison
        running = self._running[key] = _Running(what, comparison)
        return running

    def _end(self, key: tuple[str, Role]) -> None:
        running = self._running.pop(key, None)  # and with it the versions: they may have to go
        if running is not None:
            running.comparison.running = False
            if running.traffic is not None:
                running.traffic.end()

    def _counting(self, comparison: Comparison, role: Role) -> Watch:
        def watch(images: Any, ask: Any, request: Any) -> None:
            if not ask.explain:
                comparison.follow(role, self._clock, request)

        return watch


def address(name: str, target: Split) -> tuple[str, str | None]:
    """Return the model and the version that a shadow is: `2` of the same model, `other`, or `other@2`."""
    if target.version.isdecimal():
        return name, target.version
    model, _, number = target.version.partition("@")
    return model, number or None


def _tell(watches: list[Watch], images: Any, ask: Any, request: Any) -> None:
    for watch in watches:
        watch(images, ask, request)
