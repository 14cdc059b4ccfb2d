"""What a child has its parent do: changes to the models of all processes, and totals of all of them."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from serving.processes.link import Link
from serving.repository.change_queue import ChangeQueue
from serving.repository.comparison import Compared
from serving.repository.live import Split
from serving.repository.places import Places
from serving.repository.repository import OnDisk, Repository
from serving.telemetry.statistics import ModelStatistics, Statistics

ALL_CHANGE, ALL_STATISTICS = "all_change", "all_statistics"
_PATIENCE_SECONDS = 5.0


class Everywhere:
    """Changes to the models that are made in every process.

    Args:
        change: makes one, by the name of the method of `serving.repository.repository.Repository`.
        on_disk: lists what is not loaded.
        compared: returns how canary and shadow of a model do.

    Attributes:
        places: where the models lie.
    """

    def __init__(
        self,
        change: Callable[..., None],
        on_disk: Callable[[], list[OnDisk]],
        compared: Callable[[str], list[Compared]],
        places: Places,
    ) -> None:
        self.places = places
        self._change, self._on_disk, self._compared = change, on_disk, compared
        self._queue = ChangeQueue()

    def start(self, change: Callable[[], None]) -> "Future[None]":
        """Make a change in a thread of its own.

        Raises:
            OverloadedError: too many wait.
        """
        return self._queue.start(change)

    def load(self, name: str, number: str | None = None) -> None:
        """Load a model, or a version of it beside the others."""
        self._change("load", name, number)

    def follow(self, name: str) -> None:
        """Load what a model's folder has now, but stay with a version that was promoted by hand."""
        self._change("follow", name)

    def unload(self, name: str, number: str | None = None) -> None:
        """Unload a model, or a version of it."""
        self._change("unload", name, number)

    def promote(self, name: str, number: str) -> None:
        """Let a version answer who names none."""
        self._change("promote", name, number)

    def rollback(self, name: str) -> None:
        """Let the version answer that did before."""
        self._change("rollback", name)

    def set_canary(self, name: str, canary: Split | None) -> None:
        """Send a share of the requests to another version."""
        self._change("set_canary", name, canary)

    def set_shadow(self, name: str, shadow: Split | None) -> None:
        """Let another version, or model, see a share of the requests."""
        self._change("set_shadow", name, shadow)

    def on_disk(self) -> list[OnDisk]:
        """List the versions that are not loaded."""
        return self._on_disk()

    def compared(self, name: str) -> list[Compared]:
        """Return how canary and shadow of a model do."""
        return self._compared(name)


class ParentsChanges(Everywhere):
    """A child's way to change the models of all processes.

    Args:
        parent: makes the changes.
        own: of this process.
    """

    def __init__(self, parent: Link, own: Repository[Any]) -> None:
        def change(what: str, *given: Any) -> None:
            parent.ask(ALL_CHANGE, what, *given)

        super().__init__(change, own.on_disk, own.compared, own.places)


class ParentsStatistics(Statistics):
    """Totals of all processes, in a child.

    Args:
        parent: adds them up.
    """

    def __init__(self, parent: Link) -> None:
        super().__init__()
        self._parent = parent

    def of(self, model: str, number: str = "1") -> ModelStatistics:
        """Return what a version of a model has done in all processes."""
        found: ModelStatistics = self._parent.ask(
            ALL_STATISTICS, model, number, timeout_seconds=_PATIENCE_SECONDS
        )
        return found
