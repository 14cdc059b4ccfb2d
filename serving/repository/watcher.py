"""Loads, replaces and unloads models as their folders change: looks every so often, and compares.

A folder is taken when its files were the same twice in a row, so that a copy under way is left alone, and
once for each state that it is in: a bundle that was refused is tried again when a file of it changes.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from serving.errors import BundleError, OfframpError
from serving.repository.folder import Fingerprint, fingerprint
from serving.repository.places import Places

State = tuple[tuple[str, Fingerprint], ...]
"""Of a model on disk: its versions, and what their files are like."""


def look(places: Places) -> Mapping[str, State]:
    """See what every model on disk is like now.

    Raises:
        OSError: a folder cannot be listed.
        BundleError: two models have the same name.
    """
    return {
        name: tuple((number, fingerprint(folder)) for number, folder in found.versions.items())
        for name, found in places.models().items()
    }


class Followed(Protocol):
    """What changes the models (`serving.repository.repository.Repository`)."""

    @property
    def places(self) -> Places:
        """Where the models lie."""

    def follow(self, name: str) -> None:
        """Load what a model's folder has now."""

    def unload(self, name: str) -> None:
        """Unload a model."""


class Watcher:
    """Follows the folder of models, from a thread of its own once it is started.

    Args:
        repository: changes the models.
        interval_seconds: between two looks.
        logger: told of what cannot be followed.
        see: looks at the folder.
    """

    def __init__(
        self,
        repository: Followed,
        interval_seconds: float,
        logger: FilteringBoundLogger,
        see: Callable[[Places], Mapping[str, State]] = look,
    ) -> None:
        self._repository, self._interval_seconds = repository, interval_seconds
        self._logger, self._see = logger, see
        self._blind = False
        self._seen: Mapping[str, State] = self._look() or {}
        self._taken: dict[str, State] = dict(self._seen)  # what the server loaded when it started
        self._blind = False
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="offramp-watch", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def close(self) -> None:
        """Follow no more; a change that is under way is not waited for."""
        self._ending.set()

    def poll(self) -> None:
        """Look once, and take what has changed and has stayed so since the last look."""
        found = self._look()
        if found is None:
            return
        settled = {name: state for name, state in found.items() if self._seen.get(name) == state}
        gone = [name for name in self._taken if name not in found and name not in self._seen]
        self._seen = found
        for name, state in settled.items():
            if self._taken.get(name) != state:
                self._taken[name] = state
                self._change("load", name)
        for name in gone:
            del self._taken[name]
            self._change("unload", name)

    def _change(self, what: str, name: str) -> None:
        self._logger.info("folder_changed", bundle=name, change=what)
        try:
            self._repository.follow(name) if what == "load" else self._repository.unload(name)
        except OfframpError as error:
            self._logger.warning("folder_not_followed", bundle=name, reason=str(error))

    def _look(self) -> Mapping[str, State] | None:
        try:
            found = self._see(self._repository.places)
        except (OSError, BundleError) as error:
            # A volume that is away for a while is no reason to unload all models.
            if not self._blind:
                self._logger.error("folder_unreadable", reason=getattr(error, "strerror", None) or str(error))
            self._blind = True
            return None
        self._blind = False
        return found

    def _work(self) -> None:
        while not self._ending.wait(self._interval_seconds):
            try:
                self.poll()
            except Exception:  # whatever it is, the next look may go better
                self._logger.exception("watch_failed")
