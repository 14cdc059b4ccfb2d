"""Holds rows back until all those of their request are there, for decisions over a whole request."""

from typing import Any

from serving.interfaces import Tensors
from serving.scheduler.request import Batch, Request


class Barrier:
    """Rows of requests with `barrier`, that went through a stage and wait for their companions.

    The companions are at the same stage or in its queue, since they were decided on together before: so a
    request is held at one stage at a time, and never for good.
    """

    def __init__(self) -> None:
        self._held: dict[Request[Any], list[Batch]] = {}

    def split(self, batch: Batch) -> list[Batch]:
        """Hold back what has to wait, and return batches that can be decided on now, one by one.

        Rows without a barrier come first, together; then each request that is complete, on its own.
        """
        if not any(row.request.barrier for row in batch.rows):
            return [batch]
        free: list[int] = []
        grouped: dict[Request[Any], list[int]] = {}
        for index, row in enumerate(batch.rows):
            (grouped.setdefault(row.request, []) if row.request.barrier else free).append(index)
        ready = [batch.select(free)] if free else []
        for request, indices in grouped.items():
            self._held.setdefault(request, []).append(batch.select(indices))
            if (whole := self.complete(request)) is not None:
                ready.append(whole)
        return ready

    def complete(self, request: Request[Any]) -> Batch | None:
        """Take the rows that are held for a request if no other row of it is under way."""
        held = self._held.get(request, [])
        if not held or sum(len(part.rows) for part in held) != request.unanswered:
            return None
        return Batch.join(self._held.pop(request))

    def held_after(self, stage: int) -> list[Tensors]:
        """The features of the rows that went through a stage and are held back."""
        return [part.features for parts in self._held.values() for part in parts if part.stage == stage]

    def forget(self, request: Request[Any]) -> int:
        """Drop the rows that are held for a request that is over, and say how many they were."""
        return sum(len(part.rows) for part in self._held.pop(request, []))
