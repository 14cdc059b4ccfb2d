"""The units that go through the stages: requests, their rows (one per image), and batches of rows."""

import math
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from serving.events import BudgetKind, TimeBudget
from serving.interfaces import FloatArray, Tensors

ResultT = TypeVar("ResultT")

ExitAnswer = tuple[int, FloatArray, int]
"""An exit's answer to a row: the exit's index, probabilities [N, C] of a batch, the row's index in it."""


@dataclass(frozen=True, slots=True)
class StageTime:
    """A run of a stage that rows of a request were part of.

    Attributes:
        name: `stage k`, from 1, or `stage whole` where all stages ran in one.
        begun: the clock's seconds.
        seconds: how long it took.
        rows: of the request.
        batch_rows: of all requests.
    """

    name: str
    begun: float
    seconds: float
    rows: int
    batch_rows: int


@dataclass(frozen=True, slots=True)
class Constraints:
    """The constraints of a request, frozen at admission; exit rules read them, the scheduler does not.

    Attributes:
        budget_flops: what its images may cost on average, in FLOPs per image.
        thresholds: one per exit: a row leaves where its score reaches it; none where thresholds have no say.
        kind: which promise it was given.
        answer_at: the clock's seconds at which the answers so far are taken, however deep they are.
        deadline_at: the clock's seconds at which they are due; a little later than `answer_at`.
        planned_flops: the budget that the thresholds were planned for, where it is not `budget_flops`.
        next_exits: for each exit, the first one from there on at which a row could leave, see
            `serving.scheduler.head_skipping`; empty where every exit counts.
        probabilities: whether answers bring those of all classes.
        budget_share: what a brown-out left of the budget asked for; 1 where nothing lowered it.
        timed: whether runs of stages are noted.
        time: the budget, where it is a time.
    """

    budget_flops: float
    thresholds: tuple[float, ...]
    kind: BudgetKind = "average"
    answer_at: float = math.inf
    deadline_at: float = math.inf
    next_exits: tuple[int, ...] = ()
    planned_flops: float | None = None
    probabilities: bool = False
    budget_share: float = 1.0
    timed: bool = False
    time: TimeBudget | None = None


class Request(Generic[ResultT]):
    """A caller's images on their way.

    Args:
        size: how many rows it has.
        terms: what it asked for.
        barrier: whether its rows are decided on together at each stage.
        admitted_at: the clock's seconds at admission.

    Attributes:
        number: counts the requests of a scheduler as they are admitted; None before.
        future: gets the result or an error, exactly once; cancelling it abandons the request.
        unanswered: how many rows have not left yet.
        notes_all: whether every exit's answer is kept until the next one replaces it, not only the last: for
            deadlines, and for decisions over the whole request.
        stage_times: its runs of stages so far; None where they are not noted.
        history: the answer of every exit to the only row, by the exit's index; None if not asked for.
    """

    __slots__ = (
        *("_answers", "admitted_at", "barrier", "future", "history", "notes_all", "number", "size"),
        *("stage_times", "terms", "unanswered"),
    )

    def __init__(self, size: int, terms: Constraints, *, barrier: bool, admitted_at: float) -> None:
        self.size = size
        self.terms = terms
        self.barrier = barrier
        self.admitted_at = admitted_at
        self.number: int | None = None
        self.future: Future[ResultT] = Future()
        self.unanswered = size
        self.notes_all = barrier or terms.answer_at < math.inf
        self.history: dict[int, ExitAnswer] | None = {} if terms.kind == "explain" else None
        self.stage_times: list[StageTime] | None = [] if terms.timed else None
        self._answers: list[ExitAnswer | None] = [None] * size

    @property
    def over(self) -> bool:
        """Whether the request is over: answered, failed or abandoned."""
        return self.future.done()

    def cancel(self) -> None:
        """Abandon the request: its rows are dropped where they are next touched; no answer comes."""
        self.future.cancel()

    @property
    def exits(self) -> tuple[int, ...]:
        """The deepest exit index that each row has an answer of, -1 for none."""
        return tuple(-1 if answer is None else answer[0] for answer in self._answers)

    def note_run(self, run: StageTime) -> None:
        """Note a run of a stage, where runs are noted."""
        if self.stage_times is not None:
            self.stage_times.append(run)

    def note(self, position: int, answer: ExitAnswer) -> None:
        """Keep what an exit says of one row, in place of what the exit before said."""
        self._answers[position] = answer
        if self.history is not None:
            self.history[answer[0]] = answer

    def take(self) -> tuple[tuple[int, ...], FloatArray]:
        """The answers so far, from any thread.

        Returns:
            The deepest exit index of each row, -1 for none, and what these exits say, float32 [size, C]; a
            row without an exit holds nothing of use.
        """
        answers = tuple(
            self._answers
        )  # one step for the interpreter: no lock is needed to see each row whole
        if len(answers) == 1 and answers[0] is not None:
            exit_index, batch, index = answers[0]
            return (exit_index,), batch[index : index + 1]
        classes = max((answer[1].shape[1] for answer in answers if answer is not None), default=0)
        probabilities = np.zeros((len(answers), classes), np.float32)
        for position, answer in enumerate(answers):
            if answer is not None:
                probabilities[position] = answer[1][answer[2]]
        return tuple(-1 if answer is None else answer[0] for answer in answers), probabilities


@dataclass(slots=True, eq=False)
class Row:
    """One image of a request, and the clock's second since which it waits for its stage."""

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
