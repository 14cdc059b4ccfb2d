"""The children as their parent sees them: what each said last, and what all of them say together."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, wait
from itertools import count
from typing import Any, Protocol

from prometheus_client.metrics_core import Metric

from serving.errors import ClosedError
from serving.processes.layout import Share
from serving.processes.link import Link
from serving.processes.messages import GATHER, Report
from serving.processes.shapes import SlotShape, Snapshot
from serving.telemetry.summing import counted, summed

_PATIENCE_SECONDS = 2.0


class Process(Protocol):
    """A process that was started (`subprocess.Popen`)."""

    def wait(self) -> int:
        """Wait until it ends; return its exit status."""

    def poll(self) -> int | None:
        """Return its exit status; None while it runs."""

    def kill(self) -> None:
        """End it at once."""


class Child:
    """One child.

    Args:
        share: its number, threads and cores.
        process: it.

    Attributes:
        link: to it.
        report: what it said once its models were loaded; or the error with which it ended before.
        wanted: gets the models that the others have, which it waits for; None where it is the first.
        ready: set once it accepts; or the error with which it ended before.
        snapshot: what it said last.
    """

    link: Link

    def __init__(self, share: Share, process: Process) -> None:
        self.share, self.process = share, process
        self.report: Future[Report] = Future()
        self.wanted: Future[dict[str, SlotShape] | None] = Future()
        self.ready: Future[None] = Future()
        self.snapshot = Snapshot()
        self._seen_at = time.monotonic()

    @property
    def unseen_seconds(self) -> float:
        """For how long it has not said anything."""
        return time.monotonic() - self._seen_at

    def saw(self, snapshot: Snapshot) -> None:
        """Take in what it says."""
        self.snapshot, self._seen_at = snapshot, time.monotonic()

    def __str__(self) -> str:
        return f"process {self.share.number}"

    def fail(self, error: Exception) -> None:
        """Tell who waits that it will not come so far."""
        for future in (self.report, self.ready):
            if not future.done():
                future.set_exception(error)


class Children:
    """The children that serve.

    Attributes:
        changing: held while their models change, and while one joins.
        given_up: why no more are started; None where they are.
    """

    def __init__(self) -> None:
        self.changing = threading.RLock()
        self.given_up: str | None = None
        self._lock = threading.Lock()
        self._members: dict[int, Child] = {}
        self._turns = count()
        self._departed: list[Metric] = []

    def members(self) -> list[Child]:
        """Those that have joined, by their number."""
        with self._lock:
            return [self._members[number] for number in sorted(self._members)]

    def join(self, child: Child) -> None:
        """Count a child among those that serve."""
        with self._lock:
            self._members[child.share.number] = child

    def leave(self, child: Child) -> None:
        """Count a child no more; what it had counted stays."""
        with self._lock:
            if self._members.get(child.share.number) is child:
                del self._members[child.share.number]
                self._departed = summed([self._departed, counted(child.snapshot.metrics)])

    def ready(self) -> list[Child]:
        """Those that accept."""
        return [child for child in self.members() if child.ready.done() and not child.ready.exception()]

    def next(self) -> Link:
        """Return the link to one of them, each in turn.

        Raises:
            ClosedError: there is none.
        """
        ready = self.ready()
        if not ready:
            raise ClosedError("no process answers: try again")
        return ready[next(self._turns) % len(ready)].link

    def ask_any(self, what: str, *arguments: Any) -> Any:
        """Call a handler of one of them, and wait for its result.

        Raises:
            ClosedError: there is none.
        """
        return self.next().ask(what, *arguments)

    def look(self, parts: Sequence[str] = ()) -> list[Snapshot]:
        """Ask all of them what they do and have; one that does not answer in time is left out.

        Args:
            parts: see `Snapshot`.
        """
        asked = {child.link.call(GATHER, tuple(parts)): child for child in self.members()}
        answered, _ = wait(asked, _PATIENCE_SECONDS)
        for future in answered:
            if future.exception() is None:
                asked[future].saw(future.result())
        return [asked[future].snapshot for future in asked if future in answered and not future.exception()]

    def told(self) -> list[Snapshot]:
        """What each of them said last."""
        return [child.snapshot for child in self.members()]

    def metrics(self) -> list[list[Metric]]:
        """What each of them said last of its metrics, and what those had counted that have gone."""
        with self._lock:
            departed = self._departed
        return [departed, *(snapshot.metrics for snapshot in self.told())]
