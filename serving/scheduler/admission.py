"""Admission control: limits, the requests in flight, the right to resolve each. Safe from any thread."""

import threading
from collections.abc import Sequence
from itertools import count
from typing import Any

from serving.errors import BodyTooLargeError, ClosedError, OverloadedError
from serving.interfaces import Tensors
from serving.scheduler.request import Request
from serving.scheduler.turns import SHORT_ROWS

_MEMORY = 0.95  # how much of the measured throughput carries over from one batch to the next
_MAX_RETRY_SECONDS = 60.0


class Admission:
    """Counts the rows that were admitted and not answered, and keeps them under a capacity.

    Args:
        capacity: in rows.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._lock = threading.Lock()
        self._closed: str | None = None
        self._waiting_rows = 0
        self._requests: set[Request[Any]] = set()
        self._numbers = count()
        self._arrivals: list[tuple[Request[Any], Tensors]] = []
        self._answered_rows = 0.0
        self._busy_seconds = 0.0

    @property
    def waiting_rows(self) -> int:
        """Number of admitted rows."""
        return self._waiting_rows

    @property
    def has_arrivals(self) -> bool:
        """Whether an admitted request was not taken in yet."""
        return bool(self._arrivals)

    def admit(self, request: Request[Any], inputs: Tensors) -> None:
        """Let a request in.

        Raises:
            ClosedError: admission is closed.
            BodyTooLargeError: the request could not be admitted even into an empty queue.
            OverloadedError: there is no room now.
        """
        with self._lock:
            if self._closed is not None:
                raise ClosedError(self._closed)
            if request.size > self.capacity:
                raise BodyTooLargeError(
                    f"{request.size} images in one request, but the queue holds {self.capacity}: "
                    "send them in several requests"
                )
            # Long lists leave a quarter of the queue to others, unless it is empty.
            long_by = max(0, request.size - SHORT_ROWS) if self._waiting_rows else 0
            reserved = min(long_by, self.capacity // 4)
            excess = self._waiting_rows + request.size + reserved - self.capacity
            if excess > 0:
                raise OverloadedError(
                    f"the queue is full: {self._waiting_rows} of {self.capacity} images wait, "
                    f"and the request has {request.size}",
                    retry_after_seconds=self._seconds_for(excess),
                )
            self._waiting_rows += request.size
            request.number = next(self._numbers)
            self._requests.add(request)
            self._arrivals.append((request, inputs))

    def take_arrivals(self) -> list[tuple[Request[Any], Tensors]]:
        """Hand over, once, those who were admitted since the last call."""
        with self._lock:
            arrivals, self._arrivals = self._arrivals, []
        return arrivals

    def release(self, rows: int) -> None:
        """Make room: rows were answered or dropped."""
        with self._lock:
            self._waiting_rows -= rows

    def note_throughput(self, answered_rows: int, seconds: float) -> None:
        """Learn how fast rows are answered, from one batch that took `seconds`."""
        with self._lock:
            self._answered_rows = _MEMORY * self._answered_rows + answered_rows
            self._busy_seconds = _MEMORY * self._busy_seconds + seconds

    def claim(self, requests: Sequence[Request[Any]]) -> set[Request[Any]]:
        """Take the right to resolve the futures of requests; only the first who asks gets it.

        Returns:
            Those for which it was got.
        """
        with self._lock:
            claimed = self._requests.intersection(requests)
            self._requests -= claimed
        return claimed

    def claim_all(self) -> list[Request[Any]]:
        """Take the right to resolve every request that is in."""
        with self._lock:
            claimed, self._requests = list(self._requests), set()
        return claimed

    def forget_all(self) -> None:
        """Count no rows: every admitted request is over, and none of its rows is held any more.

        Requests admitted in the meantime and not taken in yet stay.
        """
        with self._lock:
            self._arrivals = [(request, inputs) for request, inputs in self._arrivals if not request.over]
            self._waiting_rows = sum(request.size for request, _ in self._arrivals)

    def close(self, reason: str) -> None:
        """Admit no request from now on; the first reason stays."""
        with self._lock:
            self._closed = self._closed or reason

    def _seconds_for(self, rows: int) -> float:
        if not self._answered_rows or not self._busy_seconds:
            return 1.0
        return min(rows * self._busy_seconds / self._answered_rows, _MAX_RETRY_SECONDS)
