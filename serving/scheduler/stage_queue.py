"""The rows that wait for one stage, first in, first out, with their features side by side in memory."""

import math
from collections import deque
from collections.abc import Sequence

import numpy as np

from serving.interfaces import IndexArray, Tensors
from serving.scheduler.dispatch import StageLoad
from serving.scheduler.request import Row


def compact(tensors: Tensors, chosen: IndexArray) -> Sequence[int]:
    """Make the first N rows of every tensor those that were chosen.

    Rows that are there already stay where they are; the gaps are filled from behind. So no more rows are
    copied than leave, and none twice.

    Args:
        tensors: each [M, ...], changed in place.
        chosen: the N indices within M of the rows that stay, rising.

    Returns:
        For each of the N places, which of `chosen` is there now.

    >>> tensor = np.array([10, 11, 12, 13, 14])
    >>> compact((tensor,), np.array([1, 2, 4])), tensor[:3].tolist()
    ([2, 0, 1], [14, 11, 12])
    """
    count = len(chosen)
    stay = int(np.searchsorted(chosen, count))
    gaps = np.setdiff1d(np.arange(count), chosen[:stay], assume_unique=True).tolist()
    for tensor in tensors:
        for gap, source in zip(gaps, chosen[stay:].tolist(), strict=True):
            tensor[gap] = tensor[source]
    order = np.empty(count, np.intp)
    order[chosen[:stay]] = np.arange(stay)
    order[gaps] = np.arange(stay, count)
    found: list[int] = order.tolist()
    return found


class StageQueue:
    """One contiguous buffer per feature tensor; a batch is a view into it, wherever its rows came from.

    If the queue is empty, the tensors of a batch stand in for the buffers: its survivors are compacted in
    place, which copies no more rows than left, none if all stay. Survivors that join others are copied once,
    behind them: that copy is the compaction and the merge in one. The queue's own buffers are allocated when
    first needed, grow by doubling, and are given back when they outgrew `keep_rows` and the queue is empty.

    Rows that were pushed together are in any order among themselves.

    Args:
        keep_rows: the size of buffers that is worth keeping, in rows.
    """

    def __init__(self, keep_rows: int = 128) -> None:
        self._keep_rows = keep_rows
        self._own: Tensors = ()
        self._buffers: Tensors = ()  # its own, or those of a batch that came while the queue was empty
        self._head = 0
        self._rows: deque[Row] = deque()

    def __len__(self) -> int:
        return len(self._rows)

    def load(self, now: float, *, urgent: bool = False) -> StageLoad:
        """Say how much waits at the clock's second `now`; `urgent` also looks for the nearest deadline."""
        if not self._rows:
            return StageLoad(0, 0.0)
        answer_at = min(row.request.terms.answer_at for row in self._rows) if urgent else math.inf
        return StageLoad(len(self._rows), now - self._rows[0].queued_at, answer_at - now)

    def push(self, rows: Sequence[Row], tensors: Tensors, chosen: IndexArray | None, now: float) -> None:
        """Append rows.

        Args:
            rows: N rows; none change nothing.
            tensors: each [M, ...], always of one dtype and shape but for M; not to be changed by others any
                more, since they may stand in for the buffers. Where N < M they may be changed here.
            chosen: the N indices within M that the rows are at, rising; None if M = N and all are.
            now: the clock's seconds.

        Raises:
            ValueError: the tensors are not like those before; the queue is then as it was.
        """
        self._append(rows, tensors, chosen)
        for row in rows:
            row.queued_at = now

    def push_all(self, rows: Sequence[Row], parts: Sequence[Tensors]) -> None:
        """Append rows that waited elsewhere before, whose tensors come in several parts, one after the other.

        Raises:
            ValueError: the tensors of a part are not like those before; the queue is then as it was.
        """
        if len(parts) == 1:
            self._append(rows, parts[0], None)
        elif rows:
            for part in parts:
                self._check(part, len(part[0]))
            self._make_room(len(rows), parts[0])
            joined = len(self._rows)
            for part in parts:
                self._copy(joined, len(part[0]), part, None)
                joined += len(part[0])
            self._rows.extend(rows)

    def _append(self, rows: Sequence[Row], tensors: Tensors, chosen: IndexArray | None) -> None:
        count = len(rows)
        if not count:
            return
        self._check(tensors, count if chosen is None else None)
        if count == len(tensors[0]):
            chosen = None
        if not self._rows and all(
            tensor.flags.c_contiguous and (chosen is None or tensor.flags.writeable) for tensor in tensors
        ):
            if chosen is not None:
                rows = [rows[index] for index in compact(tensors, chosen)]
            self._buffers, self._head = tensors, 0
        else:
            self._make_room(count, tensors)
            self._copy(len(self._rows), count, tensors, chosen)
        self._rows.extend(rows)

    def _copy(self, place: int, count: int, tensors: Tensors, chosen: IndexArray | None) -> None:
        """Copy `count` rows to the buffers, where the row at `place` in the queue is or will be."""
        start = self._head + place
        for buffer, tensor in zip(self._buffers, tensors, strict=True):
            if chosen is None:
                buffer[start : start + count] = tensor
            else:
                # The default mode, "raise", would go through a second buffer.
                np.take(tensor, chosen, axis=0, out=buffer[start : start + count], mode="clip")

    def pop(self, count: int) -> tuple[list[Row], Tensors]:
        """Take up to `count` rows from the front, and views of their tensors, good until the next push."""
        rows = [self._rows.popleft() for _ in range(min(count, len(self._rows)))]
        views = tuple(buffer[self._head : self._head + len(rows)] for buffer in self._buffers)
        self._head += len(rows)
        if not self._rows:
            self._head = 0
            if self._own and len(self._own[0]) > self._keep_rows:
                self._own = ()
            self._buffers = self._own
        return rows, views

    @property
    def tensors(self) -> Tensors:
        """Views of the tensors of all rows, good until the next push or pop."""
        return tuple(buffer[self._head : self._head + len(self._rows)] for buffer in self._buffers)

    def _check(self, tensors: Tensors, count: int | None) -> None:
        found = [(tensor.dtype, tensor.shape[1:]) for tensor in tensors]
        expected = [(buffer.dtype, buffer.shape[1:]) for buffer in self._buffers] or found
        if found != expected or not tensors:
            raise ValueError(f"expected tensors of {expected} per row, found {found}")
        if count is not None and any(len(tensor) != count for tensor in tensors):
            raise ValueError(f"expected tensors of {count} rows, found {[len(tensor) for tensor in tensors]}")

    def _make_room(self, count: int, tensors: Tensors) -> None:
        """See to it that `count` more rows fit behind those that wait."""
        waiting = len(self._rows)
        # A batch that stands in has room where some of its rows left; one that survived whole has none, and
        # so is never written to.
        if self._buffers and self._head + waiting + count <= len(self._buffers[0]):
            return
        capacity = len(self._own[0]) if self._own else 0
        # Moving to the front of a large buffer is worth it only where it frees half: a row then moves seldom.
        needed, targets = waiting + count, self._own
        if needed > (capacity if capacity <= self._keep_rows else capacity // 2):
            # Never larger than what is kept if that will do: pages of a new buffer cost more than the copies.
            capacity = self._keep_rows if needed <= self._keep_rows else 2 * needed
            targets = tuple(np.empty((capacity, *tensor.shape[1:]), tensor.dtype) for tensor in tensors)
        for target, buffer in zip(targets, self._buffers, strict=bool(waiting)):
            target[:waiting] = buffer[self._head : self._head + waiting]
        self._own, self._buffers, self._head = targets, targets, 0
