"""A heap of requests with a deadline, by the time that their answers are due. Safe from any thread."""

import heapq
import math
import threading
from itertools import count
from typing import Any

from serving.errors import DeadlineError
from serving.scheduler.request import Constraints, Request

TOO_LATE = (
    "the deadline came before the images were received and decoded: allow more milliseconds, or send "
    "fewer or smaller images"
)

_LEAD_SECONDS = 0.005
_LEAD_SHARE = 0.1
_WORTH_SWEEPING = 64


class Deadlines:
    """Requests by the time at which they are answered with what they have.

    Requests that were answered before stay until their time comes or the heap has doubled, so that a long
    deadline does not keep what is over in memory.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heap: list[tuple[float, int, Request[Any]]] = []
        self._order = count()
        self._sweep_at = _WORTH_SWEEPING

    def __bool__(self) -> bool:
        return bool(self._heap)

    @property
    def next_answer_at(self) -> float:
        """The clock's seconds at which the next request is due; infinity if none is."""
        with self._lock:
            return self._heap[0][0] if self._heap else math.inf

    def add(self, request: Request[Any]) -> None:
        """Note a request; one without a deadline is never due."""
        if request.terms.answer_at == math.inf:
            return
        with self._lock:
            heapq.heappush(self._heap, (request.terms.answer_at, next(self._order), request))
            if len(self._heap) >= self._sweep_at:
                self._heap = [entry for entry in self._heap if not entry[2].over]
                heapq.heapify(self._heap)
                self._sweep_at = max(_WORTH_SWEEPING, 2 * len(self._heap))

    def due(self, now: float) -> list[Request[Any]]:
        """Take out those whose time has come and who were not answered before."""
        taken = []
        with self._lock:
            while self._heap and self._heap[0][0] <= now:
                taken.append(heapq.heappop(self._heap)[2])
        return [request for request in taken if not request.over]


def answer_seconds(deadline_seconds: float) -> float:
    """Seconds after receipt at which the answer is taken, a moment before the deadline."""
    return deadline_seconds - min(_LEAD_SECONDS, _LEAD_SHARE * deadline_seconds)


def refuse_if_late(terms: Constraints, now: float) -> None:
    """Turn a request away whose deadline came before it could be admitted.

    Raises:
        DeadlineError: so it did.
    """
    if now >= terms.answer_at:
        raise DeadlineError(TOO_LATE)
