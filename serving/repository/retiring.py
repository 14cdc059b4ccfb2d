"""Closes versions that no longer answer, once their last requests are over, and gives their memory back."""

import gc
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Generic

from structlog.typing import FilteringBoundLogger

from serving.events import Listener, ModelUnloaded
from serving.monitoring.state import States
from serving.repository.live import LiveModels, Slot, Version, state_key
from serving.repository.opener import Loaded, Opener


class Retiring(Generic[Loaded]):
    """Closes versions, each in a thread of its own.

    Args:
        live: what requests see.
        opener: counts the memory of what is open.
        logger: where versions that are gone are named.
        emit: told of them.
        lease_seconds: how long a version waits for requests whose images are still on their way.
        drain_seconds: how long it may take to answer those that it has.
        forget_seconds: how long to wait then until nothing holds its model any more.
        states: keeps what closed loops have learned; None where nothing does.
        free: gives memory back once a model is gone.
    """

    def __init__(
        self,
        live: LiveModels[Loaded],
        opener: Opener[Loaded],
        logger: FilteringBoundLogger,
        emit: Listener,
        *,
        lease_seconds: float,
        drain_seconds: float,
        forget_seconds: float,
        states: States | None,
        free: Callable[[], None],
    ) -> None:
        self._live, self._opener, self._logger, self._emit = live, opener, logger, emit
        self._lease_seconds, self._drain_seconds = lease_seconds, drain_seconds
        self._forget_seconds, self._states, self._free = forget_seconds, states, free
        self._under_way: set[Version[Any]] = set()
        self._closed = threading.Condition()

    def retire_lost(self, before: Slot[Loaded]) -> None:
        """Close the versions of a slot that no longer answer."""
        now = self._live.slots.get(before.name)
        kept = set() if now is None else set(now.versions.values())
        for version in set(before.versions.values()) - kept:
            with self._closed:
                self._under_way.add(version)
            # In a list, for a thread holds its arguments until it ends, and the model is to be gone by then.
            held = [version]
            retire = partial(self._retire, before.name, held, versioned=before.versioned)
            threading.Thread(target=retire, name="offramp-retire", daemon=True).start()

    def wait_for(self, version: Version[Any]) -> None:
        """Wait until a version is closed."""
        with self._closed:
            self._closed.wait_for(lambda: version not in self._under_way)

    def wait(self, timeout_seconds: float) -> None:
        """Wait until no version is being closed."""
        with self._closed:
            self._closed.wait_for(lambda: not self._under_way, timeout_seconds)

    def _retire(self, name: str, held: list[Version[Loaded]], *, versioned: bool) -> None:
        """Close a version once nothing needs it, and give its memory back."""
        version = held.pop()
        number, memory_bytes = version.number, version.memory_bytes
        try:
            version.unused.wait(self._lease_seconds)
            version.model.on_submit = None
            version.model.close(drain=True, timeout_seconds=self._drain_seconds)
            now = self._live.slots.get(name)
            replaced = now is not None and now.versioned == versioned and number in now.versions
            if self._states is not None and not replaced:
                self._states.save(version.model, state_key(name, number, versioned=versioned))
        except Exception:  # of a model that is given up; the others are to go on
            self._logger.exception("version_not_closed", bundle=name, version=number)
        gone = threading.Event()
        weakref.finalize(version.model, gone.set).atexit = False
        self._opener.closed(version)
        with self._closed:
            self._under_way.discard(version)
            del version
            self._closed.notify_all()
        if not gone.wait(self._forget_seconds):
            gc.collect()  # something still holds it, or it holds itself
        self._free()
        self._emit(ModelUnloaded(name, number, memory_bytes, name not in self._live))
        self._logger.info("version_unloaded", bundle=name, version=number)
