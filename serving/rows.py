"""What goes through the stages: requests, their rows (one per image), and batches of rows from many."""

import math
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from serving.confidence import FloatArray

Tensors = tuple[npt.NDArray[Any], ...]
IndexArray = npt.NDArray[np.intp]
ResultT = TypeVar("ResultT")
Kind = Literal["average", "hard", "deadline", "guarantee"]
"""Which promise a request was given; the closed loop of budgets counts `average` alone."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a request asked for, frozen when it is admitted; deciders read it, the scheduler does not.

    Attributes:
        budget_flops: what its images may cost on average, in FLOPs per image.
        thresholds: one per exit: a row leaves where its score reaches it; none where thresholds have no say.
        kind: which promise it was given.
        answer_at: the clock's seconds at which the answers so far are taken, however deep they are.
        deadline_at: the clock's seconds at which the caller wants them; a little later than `answer_at`.
    """

    budget_flops: float
    thresholds: tuple[float, ...]
    kind: Kind = "average"
    answer_at: float = math.inf
    deadline_at: float = math.inf


class Request(Generic[ResultT]):
    """A caller's images on their way.

    Args:
        size: how many rows it has.
        terms: what it asked for.
        barrier: whether its rows are decided on together at each stage.
        admitted_at: the clock's seconds at admission.

    Attributes:
        future: gets the result or an error, exactly once; cancelling it abandons the request.
        exits: the deepest exit index that each row went through, -1 for none.
        unanswered: how many rows have not left yet.
    """

    __slots__ = (
        "_lock",
        "_probabilities",
        "_taken",
        "admitted_at",
        "barrier",
        "exits",
        "future",
        "size",
        "terms",
        "unanswered",
    )

    def __init__(self, size: int, terms: Terms, *, barrier: bool, admitted_at: float) -> None:
        self.size = size
        self.terms = terms
        self.barrier = barrier
        self.admitted_at = admitted_at
        self.future: Future[ResultT] = Future()
        self.exits = [-1] * size
        self.unanswered = size
        self._probabilities: FloatArray | None = None
        self._taken = False
        self._lock = threading.Lock()

    @property
    def over(self) -> bool:
        """Whether nobody waits any more: answered, failed or abandoned."""
        return self.future.done()

    def cancel(self) -> None:
        """Abandon the request: its rows are dropped where they are next touched; no answer comes."""
        self.future.cancel()

    def note(self, position: int, exit_index: int, probabilities: FloatArray) -> None:
        """Keep what an exit says of one row, probabilities [C], in place of what the exit before said."""
        with self._lock:
            if self._taken:
                return
            if self._probabilities is None:
                self._probabilities = np.empty((self.size, len(probabilities)), np.float32)
            self._probabilities[position] = probabilities
            self.exits[position] = exit_index

    def take(self) -> tuple[tuple[int, ...], FloatArray]:
        """Take the answers so far, from any thread; they do not change any more.

        Returns:
            The deepest exit index of each row, -1 for none, and what these exits say, float32 [size, C]; a
            row without an exit holds nothing of use.
        """
        with self._lock:
            self._taken = True
            nothing = np.empty((self.size, 0), np.float32)
            return tuple(self.exits), nothing if self._probabilities is None else self._probabilities


@dataclass(slots=True, eq=False)
class Row:
    """One image of a request, and when it joined the queue that it is in or came from."""

    request: Request[Any]
    position: int
    queued_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that went through a stage: probabilities [N, C] and features, each [N, ...]."""

    stage: int
    rows: Sequence[Row]
    probabilities: FloatArray
    features: Tensors

    def select(self, chosen: Sequence[int]) -> "Batch":
        """Copy the rows at these indices into a batch of their own."""
        return Batch(
            self.stage,
            [self.rows[index] for index in chosen],
            self.probabilities[chosen],
            tuple(feature[chosen] for feature in self.features),
        )

    @staticmethod
    def join(batches: Sequence["Batch"]) -> "Batch":
        """Put batches of one stage together."""
        if len(batches) == 1:
            return batches[0]
        return Batch(
            batches[0].stage,
            [row for batch in batches for row in batch.rows],
            np.concatenate([batch.probabilities for batch in batches]),
            tuple(
                np.concatenate(parts) for parts in zip(*(batch.features for batch in batches), strict=True)
            ),
        )


def requests_of(rows: Sequence[Row]) -> list[Request[Any]]:
    """The different requests of rows, in their order."""
    return list(dict.fromkeys(row.request for row in rows))
