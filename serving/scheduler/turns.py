"""Requests whose rows wait to enter the first stage, and the turns that they take.

Rows of a long list do not go in one after the other: each request that waits brings a few rows into a batch,
and then goes to the end of the line. A caller of one image waits for a batch or two, under any other load.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from serving.interfaces import Tensors
from serving.scheduler.dispatch import StageLoad
from serving.scheduler.request import Request, Row

SHORT_ROWS = 16
"""Requests of so many rows or fewer do not share: they go in as they came, one after the other."""


@dataclass(slots=True)
class _Waiting:
    request: Request[Any]
    inputs: Tensors
    since: float
    taken: int = 0

    @property
    def left(self) -> int:
        return self.request.size - self.taken


@dataclass(frozen=True, slots=True)
class Taken:
    """Rows that enter, with the second since which each waits, and their inputs in parts, each [n, ...].

    `dropped` are rows of requests that are over, which were met on the way.
    """

    rows: list[Row]
    parts: list[Tensors]
    dropped: list[Row]


class Turns:
    """Rows by request, in the order of the requests' turns."""

    def __init__(self) -> None:
        self._line: deque[_Waiting] = deque()
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def add(self, request: Request[Any], inputs: Tensors, now: float) -> None:
        """Let a request wait, at the end of the line.

        Args:
            request: whose rows all wait.
            inputs: of its rows, each [size, ...].
            now: the clock's seconds.
        """
        self._line.append(_Waiting(request, inputs, now))
        self._rows += request.size

    def joined(self, load: StageLoad, now: float, *, urgent: bool) -> StageLoad:
        """Add what waits here to the load of the stage that it waits for."""
        if not self._rows:
            return load
        first = self._line[0]
        slack = min(waiting.request.terms.answer_at for waiting in self._line) - now if urgent else math.inf
        return StageLoad(
            load.rows + self._rows,
            max(load.oldest_age_seconds, now - first.since),
            min(load.slack_seconds, slack),
        )

    def take(self, count: int) -> Taken:
        """Let up to `count` rows in, some of each request: those who wait share them."""
        rows: list[Row] = []
        parts: list[Tensors] = []
        dropped: list[Row] = []
        while self._line and len(rows) < count:
            share = max(1, (count - len(rows)) // len(self._line))
            waiting = self._line.popleft()
            request, start = waiting.request, waiting.taken
            if request.size <= SHORT_ROWS:
                share = count - len(rows)
            if request.over:
                dropped += [Row(request, position) for position in range(start, request.size)]
                self._rows -= waiting.left
                continue
            size = min(share, waiting.left)
            rows += [Row(request, position, waiting.since) for position in range(start, start + size)]
            whole = size == request.size
            parts.append(waiting.inputs if whole else _part(waiting.inputs, start, start + size))
            waiting.taken += size
            self._rows -= size
            if waiting.left:
                self._line.append(waiting)
        return Taken(rows, parts, dropped)

    def clear(self) -> None:
        """Forget all requests."""
        self._line.clear()
        self._rows = 0


def _part(inputs: Sequence[Any], start: int, end: int) -> Tensors:
    return tuple(tensor[start:end] for tensor in inputs)
