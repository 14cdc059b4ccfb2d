"""Starts children, notices when one dies or hangs, and replaces it, but not without end."""

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from structlog.typing import FilteringBoundLogger

from serving.errors import ClosedError, OfframpError
from serving.processes.children import Child, Children, Process
from serving.processes.layout import Share, settings_of
from serving.processes.link import Handler, Link, pair
from serving.processes.messages import BEGIN, FAILED, GATHER, JOINED, READY, STOP, Report, Start
from serving.settings import Settings

MOST_RESTARTS = 3
RESTART_SECONDS = 600.0
_LONGEST_LOOK_SECONDS = 5.0
_END_SECONDS = 10.0  # for what children do after the time that requests may take

Decide = Callable[[Report], int]
"""What the first child reports -> how many are to serve."""


Launch = Callable[[Share, socket.socket, Sequence[int]], Process]
"""Starts a child with its end of the link, and descriptors to inherit."""


def launch(share: Share, link: socket.socket, inherited: Sequence[int]) -> Process:
    """Start the program of a child: a fresh interpreter, which inherits its link, these and nothing else."""
    command = [sys.executable, *(["-P"] if sys.flags.safe_path else []), "-m", "serving.processes.child"]
    command += [str(link.fileno()), *([",".join(map(str, share.cores))] if share.cores else [])]
    return subprocess.Popen(  # noqa: S603 - our own program
        command, stdin=subprocess.DEVNULL, stdout=2, pass_fds=(link.fileno(), *inherited)
    )


class Supervisor:
    """The children of one server.

    Args:
        settings: of the server.
        children: gets those that serve.
        start: makes what a child is told first, of its settings and its share.
        inherited: descriptors that they share.
        handlers: makes what the parent answers a child of that number.
        logger: told of children that end and are replaced.
        counted: called for each child that ended before it was told to.
        launch: starts the program of a child.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        settings: Settings,
        children: Children,
        start: Callable[[Settings, Share], Start],
        inherited: Sequence[int],
        handlers: Callable[[int], Mapping[str, Handler]],
        logger: FilteringBoundLogger,
        counted: Callable[[], None] = lambda: None,
        launch: Launch = launch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._children, self._start = settings, children, start
        self._inherited = inherited
        self._handlers, self._logger, self._counted = handlers, logger, counted
        self._launch, self._clock = launch, clock
        self._shares: Sequence[Share] = ()
        self._lock = threading.Lock()
        self._running: dict[int, Child] = {}
        self._died_at: dict[int, deque[float]] = {}
        self._discarded: set[Child] = set()
        self._stopping, self._serving = threading.Event(), threading.Event()

    def start(
        self, shares: Sequence[Share], decide: Decide | None, divide: Callable[[int], list[Share]]
    ) -> None:
        """Start all children; the first one loads the models alone: a server that cannot start says so once.

        Args:
            shares: of the children; only to begin with where there is a `decide`.
            decide: how many there are to be, by what the first one reports; None where that is known.
            divide: makes the shares of so many.

        Raises:
            OfframpError: a child cannot start.
        """
        self._shares = shares
        # Those that are sure to come start their interpreters meanwhile.
        first, *others = self._spawned(shares if decide is None else shares[:1])
        self._begin(first)
        report = first.report.result()
        if decide is not None:
            wanted = decide(report)
            if wanted != len(shares):
                self._discard(first)
                self._shares = divide(wanted)
                first = self._spawn(self._shares[0])
                self._begin(first)
                first.report.result()
            others = self._spawned(self._shares[1:])
        self._admit(first)
        for child in others:
            self._begin(child)
        for child in others:
            child.report.result()
            self._admit(child)
        for child in (first, *others):
            child.ready.result()
        self._serving.set()
        threading.Thread(target=self._watch, name="offramp-supervisor", daemon=True).start()

    @property
    def count(self) -> int:
        """How many are to serve."""
        return len(self._shares)

    @property
    def alive(self) -> bool:
        """Whether any child runs."""
        with self._lock:
            return any(child.process.poll() is None for child in self._running.values())

    def stop(self, number: int) -> None:
        """Have all children handle a signal; from now on none is replaced."""
        self._stopping.set()
        with self._lock:
            running = list(self._running.values())
        for child in running:
            child.link.tell(STOP, number)

    def close(self) -> None:
        """End what still runs."""
        self._stopping.set()
        with self._lock:
            running = list(self._running.values())
        for child in running:
            if child.process.poll() is None:
                self._logger.error("process_killed", number=child.share.number, reason="it did not stop")
                child.process.kill()
            child.process.wait()

    def replace(self, child: Child, reason: str) -> None:
        """End a child that cannot go on; another one takes its place."""
        self._logger.error("process_killed", number=child.share.number, reason=reason)
        child.process.kill()

    def look(self) -> None:
        """Replace children that hang: a thread that hangs in a computation cannot be ended alone."""
        self._children.look()
        patience = 2 * self._settings.stall_seconds
        for child in self._children.members():
            if child.snapshot.dead is not None:
                self.replace(child, child.snapshot.dead)
            elif child.unseen_seconds > patience:
                self.replace(child, "it does not answer")

    @property
    def stop_seconds(self) -> float:
        """How long children may take to stop."""
        settings = self._settings
        return settings.drain_seconds + settings.shutdown_timeout_seconds + _END_SECONDS

    def _watch(self) -> None:
        seconds = min(_LONGEST_LOOK_SECONDS, self._settings.stall_seconds / 2)
        while not self._stopping.wait(seconds):
            try:
                self.look()
            except Exception:  # whatever it is, the next look may go better
                self._logger.exception("supervisor_failed")

    def _spawned(self, shares: Sequence[Share]) -> list[Child]:
        """Start children, which wait to be told to begin."""
        return [self._spawn(share) for share in shares]

    def _spawn(self, share: Share) -> Child:
        """Start a child, which waits to be told to begin."""
        ours, theirs = pair()
        with theirs:
            process = self._launch(share, theirs, self._inherited)
        child = Child(share, process)
        handlers: dict[str, Handler] = {
            JOINED: partial(self._joined, child),
            FAILED: child.fail,
            READY: partial(child.ready.set_result, None),
            **self._handlers(share.number),
        }
        gone = ClosedError(f"process {share.number} ended while it started; the log says why")
        child.link = Link(ours, handlers, str(child), lambda: child.fail(gone))
        child.link.start()
        with self._lock:
            self._running[share.number] = child
        threading.Thread(
            target=self._wait_for, args=(child,), name=f"offramp-process-{share.number}", daemon=True
        ).start()
        return child

    def _begin(self, child: Child) -> None:
        """Have a child load its models."""
        count = len(self._shares)
        child.link.tell(BEGIN, self._start(settings_of(self._settings, count, child.share), child.share))

    def _discard(self, child: Child) -> None:
        """End a child that has served nobody."""
        self._discarded.add(child)
        child.process.kill()
        child.process.wait()

    def _joined(self, child: Child, report: Report) -> "Future[Any]":
        """Take in that a child's models are loaded; it then waits for what the others have."""
        child.report.set_result(report)
        return child.wanted

    def _admit(self, child: Child) -> None:
        """Let a child serve, with the models that the others have; no change falls between the two."""
        with self._children.changing:
            wanted = None
            for other in self._children.members():
                with contextlib.suppress(OfframpError):
                    wanted = other.link.ask(GATHER, ()).slots
                    break
            child.wanted.set_result(wanted)
            self._children.join(child)

    def _wait_for(self, child: Child) -> None:
        """Wait until a child ends, and replace it where it should not have."""
        code = child.process.wait()
        child.fail(ClosedError(f"{child} ended while it started; the log says why"))
        self._children.leave(child)
        if self._stopping.is_set() or child in self._discarded or not self._serving.is_set():
            return
        number, now = child.share.number, self._clock()
        died_at = self._died_at.setdefault(number, deque())
        died_at.append(now)
        while now - died_at[0] > RESTART_SECONDS:
            died_at.popleft()
        self._counted()
        goes_on = len(died_at) <= MOST_RESTARTS
        self._logger.error("process_ended", number=number, code=code, replaced=goes_on)
        if goes_on:
            self._start_again(child.share)
        else:
            minutes = RESTART_SECONDS / 60
            self._children.given_up = f"{child} ended {len(died_at)} times within {minutes:g} minutes"

    def _start_again(self, share: Share) -> None:
        child = self._spawn(share)
        self._begin(child)
        try:
            child.report.result()
            self._admit(child)
            child.ready.result()
        except OfframpError as error:
            self._logger.error("process_not_replaced", number=share.number, reason=str(error))
            child.process.kill()  # the thread that waits for it goes on
        else:
            self._logger.info("process_replaced", number=share.number)
