"""Calls between two processes of a server, over a pair of connected Unix sockets.

Either side calls the other's handlers by name. Arguments and results are pickled: both ends are the same
program, the sockets have no name, and nobody else can reach them.
"""

import os
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from multiprocessing.connection import Connection
from typing import Any

from serving.errors import ClosedError
from serving.repository.in_thread import in_thread
from serving.telemetry.logs import get_logger

Handler = Callable[..., Any]
"""Takes what the other side gives; returns the result, or a `Future` of it."""

_CALL, _TELL, _ANSWER, _ERROR = range(4)


class Link:
    """One end of a connection between two processes.

    Calls are made in threads of their own, so that one that takes long holds up no other. What is told is
    handled in the order of telling, before any call that came later.

    Args:
        connection: to the other process.
        handlers: what it may ask for here, by name.
        name: of the other process, for messages.
        lost: called once when the other process has gone; not after `close`.
    """

    def __init__(
        self,
        connection: "Connection[Any, Any]",
        handlers: Mapping[str, Handler],
        name: str,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._connection, self._handlers, self.name, self._lost = connection, handlers, name, lost
        self._sending, self._waiting_lock = threading.Lock(), threading.Lock()
        self._waiting: dict[int, Future[Any]] = {}
        self._numbers = count()
        self._over = self._closed = False
        self._thread = threading.Thread(target=self._read, name=f"offramp-link-{name}", daemon=True)

    def start(self) -> None:
        """Begin to listen to the other process."""
        self._thread.start()

    def call(self, what: str, *arguments: Any) -> "Future[Any]":
        """Call a handler of the other process; the future gets its result, or its error.

        A process that has gone, or goes, leaves a `ClosedError`.
        """
        future: Future[Any] = Future()
        number = next(self._numbers)
        with self._waiting_lock:
            if self._over:
                future.set_exception(self._gone())
                return future
            self._waiting[number] = future
        if not self._send((_CALL, number, what, arguments)):
            self._forget(number, self._gone())
        return future

    def ask(self, what: str, *arguments: Any, timeout_seconds: float | None = None) -> Any:
        """Call a handler of the other process and wait for its result.

        Raises:
            ClosedError: the process has gone.
            TimeoutError: it has not answered in time.
        """
        return self.call(what, *arguments).result(timeout_seconds)

    def tell(self, what: str, *arguments: Any) -> None:
        """Have a handler called that returns nothing; lost where the process has gone."""
        self._send((_TELL, 0, what, arguments))

    def close(self) -> None:
        """Hang up; the other process notices, and calls that are under way fail."""
        self._closed = True
        # Closing a descriptor does not wake the thread that reads from it.
        with suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as ending:
            ending.shutdown(socket.SHUT_RDWR)

    def _read(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                self._take(*self._connection.recv())
        with self._waiting_lock:
            self._over = True
            waiting, self._waiting = self._waiting, {}
        self._connection.close()
        for future in waiting.values():
            _settle(future, None, self._gone())
        if not self._closed:
            self._lost()

    def _take(self, kind: int, number: int, what: Any, value: Any) -> None:
        """Take in one message."""
        if kind == _TELL:
            try:
                self._handlers[what](*value)
            except Exception:  # nobody waits for an error
                get_logger().exception("link_handler_failed", what=what, process=self.name)
        elif kind == _CALL:
            handler = self._handlers[what]
            in_thread(f"offramp-{what}", lambda: handler(*value)).add_done_callback(
                lambda done: self._answer(number, done)
            )
        else:
            self._forget(number, value if kind == _ERROR else None, value)

    def _answer(self, number: int, done: "Future[Any]") -> None:
        error = done.exception()
        if error is None and isinstance(done.result(), Future):
            done.result().add_done_callback(lambda later: self._answer(number, later))
            return
        kind, value = (_ANSWER, done.result()) if error is None else (_ERROR, error)
        try:
            self._send((kind, number, None, value))
        except Exception as unsent:  # it cannot be pickled: the other side gets its text
            self._send((_ERROR, number, None, RuntimeError(f"{type(unsent).__name__}: {value!r:.500}")))

    def _send(self, message: tuple[int, int, Any, Any]) -> bool:
        try:
            with self._sending:
                self._connection.send(message)
        except OSError:  # the thread that reads finds out, too
            return False
        return True

    def _forget(self, number: int, error: BaseException | None, value: Any = None) -> None:
        with self._waiting_lock:
            future = self._waiting.pop(number, None)
        if future is not None:
            _settle(future, value, error)

    def _gone(self) -> ClosedError:
        return ClosedError(f"{self.name} has gone: try again")


def pair() -> "tuple[Connection[Any, Any], socket.socket]":
    """Return one end to use here, and the other one to leave to a child."""
    ours, theirs = socket.socketpair()
    return Connection(ours.detach()), theirs


def _settle(future: "Future[Any]", value: Any, error: BaseException | None) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
