"""Connections are accepted by the process that has the fewest: a proxy's few, kept open, would else be one's.

Processes that wait on one socket all wake for a connection, and the quickest takes it, with all others that
wait there. Here each takes one at a time, and one that has more than another leaves it the time to come
first, the more time the more it has; but not for ever, for the other may hang. Numbers of connections lie in
memory that all processes share; each writes its own.
"""

import asyncio
import mmap
import os
import socket
import tempfile
from collections.abc import Awaitable, Callable

from structlog.typing import FilteringBoundLogger

from serving.settings import MOST_PROCESSES

_PLACES = MOST_PROCESSES + 1
GONE = 2**31 - 1
"""In place of the number of a process that accepts none."""

_COURTESY_SECONDS, _LONGEST_COURTESY = 0.002, 0.02
_MOST_IN_VAIN = 10
_PAUSE_SECONDS = 1.0  # where the system has no more files to give


def memory_file(name: str, size: int) -> int:
    """Make a file of zeros that exists in memory alone, or at least has no name; return its descriptor."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create(name)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.truncate(descriptor, size)
    return descriptor


class ConnectionCounts:
    """How many connections each process has.

    Args:
        descriptor: of the file, from `create` in this process or in its parent.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._counts = memoryview(mmap.mmap(descriptor, 4 * _PLACES)).cast("i")

    @classmethod
    def create(cls) -> "ConnectionCounts":
        """Make a table of processes none of which accepts yet."""
        found = cls(memory_file("offramp-connections", 4 * _PLACES))
        for process in range(_PLACES):
            found.set(process, GONE)
        return found

    def set(self, process: int, count: int) -> None:
        """Say how many connections a process has."""
        self._counts[process] = count

    def fewest(self) -> int:
        """Return the lowest number that any process has."""
        return min(self._counts)


class Accepting:
    """Accepts connections of a shared socket in this process; stands in for an `asyncio.Server`.

    Args:
        listening: the socket; its copies in other processes listen, too.
        connect: has the event loop take a connection over.
        count: how many connections this process has.
        process: its number.
        counts: those of all processes.
        logger: told where the system has no more files to give.
    """

    def __init__(
        self,
        listening: socket.socket,
        connect: Callable[[socket.socket], Awaitable[object]],
        count: Callable[[], int],
        process: int,
        counts: ConnectionCounts,
        logger: FilteringBoundLogger,
    ) -> None:
        self._listening, self._connect, self._count = listening, connect, count
        self._process, self._counts, self._logger = process, counts, logger
        self._loop = asyncio.get_running_loop()
        self._again: asyncio.TimerHandle | None = None
        self._waited_for, self._in_vain = 0, 0  # how many the fewest were then; how often nobody came
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def start(self) -> None:
        """Begin to accept."""
        self._listening.setblocking(False)
        self._listening.listen(2048)
        self.tell()
        self._loop.add_reader(self._listening, self._look)

    def tell(self) -> None:
        """Let the other processes know how many connections there are here."""
        if not self._closed:
            self._counts.set(self._process, self._count() + len(self._tasks))

    def close(self) -> None:
        """Accept no more."""
        if self._closed:
            return
        self._closed = True
        self._counts.set(self._process, GONE)
        if self._again is not None:
            self._again.cancel()
        self._loop.remove_reader(self._listening)
        self._listening.close()

    async def wait_closed(self) -> None:
        """Return: there is nothing to wait for."""

    def _look(self) -> None:
        """Somebody wants to connect: take it, or wait a moment whether one with fewer connections does."""
        self.tell()
        fewest = self._counts.fewest()
        excess = self._count() + len(self._tasks) - fewest
        if fewest != self._waited_for:
            self._waited_for, self._in_vain = fewest, 0
        if excess <= 0 or self._in_vain >= _MOST_IN_VAIN:
            self._accept()
            return
        self._in_vain += 1
        self._loop.remove_reader(self._listening)
        seconds = min(_COURTESY_SECONDS * excess, _LONGEST_COURTESY)
        self._again = self._loop.call_later(seconds, self._take_after_all)

    def _take_after_all(self) -> None:
        """Take what nobody with fewer connections took in the meantime."""
        self._again = None
        if self._accept():
            self._loop.add_reader(self._listening, self._look)

    def _accept(self) -> bool:
        """Take one connection if there still is one; False where there will be none for a while."""
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return True
        except OSError as error:  # no more files, or no memory: the connection waits
            self._logger.error("accept_failed", reason=error.strerror)
            self._loop.remove_reader(self._listening)
            self._again = self._loop.call_later(_PAUSE_SECONDS, self._take_after_all)
            return False
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._loop.create_task(self._take_over(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.tell()
        return True

    async def _take_over(self, connection: socket.socket) -> None:
        try:
            await self._connect(connection)
        except (OSError, TimeoutError):  # gone already, or no TLS
            connection.close()
