"""The core: takes rows through the stages in batches (docs/scheduler.md).

It is synchronous, without ONNX, HTTP or threads of its own: `submit`, `close` and `abort` may be
called from anywhere, `step` by one thread at a time.
"""

import time
from collections.abc import Callable, Sequence
from typing import Generic

import numpy as np

from serving.errors import EngineError, OfframpError
from serving.events import Listener, RowsBroken, StageRan, shielded
from serving.interfaces import NO_FAST_PATHS, FastPaths, FloatArray, IndexArray, Mask, RunStage, Tensors
from serving.scheduler.admission import Admission
from serving.scheduler.barrier import Barrier
from serving.scheduler.broken_rows import broken_rows
from serving.scheduler.cores import Cores, Turn
from serving.scheduler.deadlines import Deadlines
from serving.scheduler.dispatch import DEFAULT_DISPATCH, Dispatch, StageLoad
from serving.scheduler.head_skipping import goes_straight, needs_head
from serving.scheduler.hooks import Decide, Start, checked, everybody_starts
from serving.scheduler.request import Batch, Constraints, Request, ResultT, Row, StageTime, requests_of
from serving.scheduler.resolver import MakeAnswers, Resolver, deadline_error, engine_error
from serving.scheduler.stage_queue import StageQueue
from serving.scheduler.turns import Turns


class Scheduler(Generic[ResultT]):
    """One queue per stage; survivors of several batches meet again at the deeper stage.

    Args:
        name: of the model, for events.
        exit_flops: the cost of leaving at each exit, in FLOPs per image; there are as many stages.
        run: runs a stage. An exception fails the requests with rows in the batch, and only these; NaN or
            infinity in a row fails its request alone.
        decide: says who leaves. An exception does the same.
        start: says who may start a stage. An exception does the same.
        answer: makes the results of requests whose rows have all left.
        capacity: of rows admitted and not answered.
        dispatch: chooses the next stage and how many rows of it.
        clock: seconds from any origin, never going back.
        emit: gets the events, from the threads that call `step` and `abort`; what it raises is logged.
        keep_rows: the size of stage buffers worth keeping, in rows; one for all, or one for each stage.
        shortcuts: what can be run where heads are not needed. With `whole`, the queue after the last stage's
            is for the images of requests that go straight to the last exit.
        turn: of this scheduler among others on the same cores. A step waits for it, and then chooses its
            batch. It is kept while rows are ahead of those that wait to enter, which gather meanwhile.
    """

    def __init__(
        self,
        *,
        name: str,
        exit_flops: Sequence[int],
        run: RunStage,
        decide: Decide,
        answer: MakeAnswers[ResultT],
        capacity: int,
        start: Start = everybody_starts,
        dispatch: Dispatch = DEFAULT_DISPATCH,
        clock: Callable[[], float] = time.monotonic,
        emit: Listener | None = None,
        keep_rows: int | Sequence[int] = 128,
        shortcuts: FastPaths = NO_FAST_PATHS,
        turn: Turn | None = None,
    ) -> None:
        self._name = name
        self._run = run
        self._turn = turn or Cores(1).share(1)
        self._decide = decide
        self._start = start
        self._dispatch = dispatch
        self._clock = clock
        self._emit = shielded(emit)
        self._last = len(exit_flops) - 1
        self._shortcuts = shortcuts
        queues = len(exit_flops) + (shortcuts.whole is not None)
        kept = [keep_rows] * queues if isinstance(keep_rows, int) else keep_rows
        self._queues = [StageQueue(rows) for rows in kept[:queues]]
        self._turns = {0: Turns(), self._last + 1: Turns()}  # before the queues that requests enter by
        self._barrier = Barrier()
        self._deadlines = Deadlines()
        self._admission = Admission(capacity)
        self._resolver = Resolver(
            name=name,
            exit_flops=exit_flops,
            answer=answer,
            admission=self._admission,
            clock=clock,
            emit=self._emit,
        )

    @property
    def waiting_rows(self) -> int:
        """Number of rows admitted and neither answered nor dropped."""
        return self._admission.waiting_rows

    @property
    def has_work(self) -> bool:
        """Whether a step would find rows."""
        return self._admission.has_arrivals or any(self._queues) or any(self._turns.values())

    @property
    def seconds_to_answer(self) -> float:
        """Seconds until `answer_due` has something to do, 0 if it has; infinity without deadlines."""
        return max(0.0, self._deadlines.next_answer_at - self._clock())

    def waiting_features(self, stage: int) -> list[Tensors]:
        """The features that wait for a stage from 1 on, in its queue or held back by the barrier before it.

        A `run` that leaves features on a device and hands out their places there finds here which places are
        in use, and may write new ones when it has moved them.
        """
        queue = self._queues[stage]
        return [*([queue.tensors] if queue else []), *self._barrier.held_after(stage - 1)]

    def submit(self, inputs: Tensors, terms: Constraints, *, barrier: bool = False) -> Request[ResultT]:
        """Admit a request; its rows wait for stage 0 from the next step on.

        Args:
            inputs: what stage 0 takes, each [N, ...]; not to be changed while the request is under way.
            terms: for the decider.
            barrier: decide on its rows together: each stage's decision waits for all that are still there.

        Raises:
            ValueError: there are no rows, which would never be answered.
            ClosedError: closed.
            BodyTooLargeError: more rows than the capacity.
            OverloadedError: no room now.
        """
        size = len(inputs[0])
        if not size:
            raise ValueError("expected at least one row, found none")
        request: Request[ResultT] = Request(size, terms, barrier=barrier, admitted_at=self._clock())
        self._admission.admit(request, inputs)
        self._deadlines.add(request)
        return request

    def step(self) -> bool:
        """Run one batch through one stage; False if there was nothing to do."""
        if not self.has_work:
            return False
        waited_seconds = self._turn.take()
        self._take_in()
        stage, size = self._dispatch(self._loads())
        rows, inputs = self._who_starts(stage, *self._pop(stage, size))
        if rows:
            self._run_stage(stage, rows, inputs, waited_seconds)
        if not any(self._queues[1 : self._last + 1]):
            self._turn.give_back()
        return True

    def answer_due(self) -> None:
        """Answer the requests whose time is up with what they have; may be called from any thread."""
        for request in self._deadlines.due(self._clock()):
            self._resolver.finish_early(request)

    def close(self, reason: str) -> None:
        """Admit no request from now on; admitted ones stay."""
        self._admission.close(reason)

    def abort(self, make_error: Callable[[], OfframpError]) -> None:
        """Close, and fail every request that is in, each with an error of its own."""
        self.close(str(make_error()))
        self._resolver.fail_all(make_error)

    def fail_all(self, make_error: Callable[[], OfframpError]) -> None:
        """Fail every request that is in, each with an error of its own, and stay open; from any thread."""
        self._resolver.fail_all(make_error)

    def reset(self) -> None:
        """Forget all rows, whose requests are over: for the thread that steps, after a failure."""
        for queue in self._queues:
            while queue:
                queue.pop(len(queue))
        for turns in self._turns.values():
            turns.clear()
        self._barrier = Barrier()
        self._admission.forget_all()

    def _take_in(self) -> None:
        """Let those who were admitted wait for their turns."""
        now = self._clock()
        for request, inputs in self._admission.take_arrivals():
            straight = self._shortcuts.whole is not None and goes_straight(request)
            self._turns[self._last + 1 if straight else 0].add(request, inputs, now)

    def _loads(self) -> list[StageLoad]:
        """The rows that wait for each stage, in its queue and for a turn to enter it."""
        now, urgent = self._clock(), bool(self._deadlines)
        loads = [queue.load(now, urgent=urgent) for queue in self._queues]
        for stage, turns in self._turns.items():
            if turns:
                loads[stage] = turns.joined(loads[stage], now, urgent=urgent)
        return loads

    def _let_in(self, stage: int, size: int) -> None:
        """Fill the queue that a batch is to be taken from, with rows of requests in their turns."""
        queue, turns = self._queues[stage], self._turns.get(stage)
        if not turns or len(queue) >= size:
            return
        taken = turns.take(size - len(queue))
        if taken.dropped:
            self._drop(taken.dropped)
        queue.push_all(taken.rows, taken.parts)

    def _pop(self, stage: int, size: int) -> tuple[list[Row], Tensors]:
        """Take rows whose caller still waits; the others are dropped on the way."""
        self._let_in(stage, size)
        rows, inputs = self._queues[stage].pop(size)
        over = [row.request.over for row in rows]
        if any(over):
            self._drop([row for row, gone in zip(rows, over, strict=True) if gone])
            rows = [row for row, gone in zip(rows, over, strict=True) if not gone]
            inputs = tuple(tensor[~np.array(over)] for tensor in inputs)
        return rows, inputs

    def _who_starts(self, stage: int, rows: list[Row], inputs: Tensors) -> tuple[list[Row], Tensors]:
        """Keep the rows that may start a stage; the others leave."""
        if not rows:
            return rows, inputs
        try:
            starts = checked(self._start(stage, rows), len(rows))
        except Exception as error:
            self._fail(rows, f"deciding on {len(rows)} images failed before stage {stage + 1}", error)
            return [], ()
        if starts.all():
            return rows, inputs
        self._turn_away(stage, [rows[index] for index in np.flatnonzero(~starts)])
        return [rows[index] for index in np.flatnonzero(starts)], tuple(tensor[starts] for tensor in inputs)

    def _turn_away(self, stage: int, rows: Sequence[Row]) -> None:
        """Let rows go that may not start a stage; before the first one they have no answer to leave with."""
        if stage == 0:
            for request in requests_of(rows):
                self._resolver.fail(request, deadline_error(request.exits.count(-1), request.size))
            self._drop(rows)
            return
        self._leave(rows)
        for request in requests_of(rows):
            if (whole := self._barrier.complete(request)) is not None:
                self._settle(stage, whole)

    def _run_stage(self, stage: int, rows: list[Row], inputs: Tensors, waited_seconds: float) -> None:
        started = self._clock()
        queue_seconds = tuple([started - row.queued_at for row in rows])  # before they join another queue
        try:
            exit_index, skipped, probabilities, features = self._compute(stage, rows, inputs)
            tensors = features if probabilities is None else (probabilities, *features)
            found = {len(tensor) for tensor in tensors}
            if found != {len(rows)}:
                raise EngineError(f"expected outputs of {len(rows)} rows, found {sorted(found)}")
            broken = broken_rows(tensors)
            seconds = self._clock() - started
        except Exception as error:
            self._fail(
                rows, f"stage {min(stage, self._last) + 1} failed on a batch of {len(rows)} images", error
            )
            return
        self._emit(StageRan(self._name, stage, len(rows), seconds, queue_seconds, skipped))
        self._note_times(stage, rows, started, seconds)
        if broken.size:
            rows, probabilities, features = self._fail_broken(
                exit_index, rows, broken, probabilities, features
            )
        answered_rows = self._go_on(exit_index, rows, probabilities, features) if rows else 0
        self._admission.note_throughput(answered_rows, waited_seconds + seconds)

    def _note_times(self, stage: int, rows: Sequence[Row], started: float, seconds: float) -> None:
        """Note a run with the requests that want to know."""
        timed = [row.request for row in rows if row.request.stage_times is not None]
        for request in dict.fromkeys(timed):
            name = "stage whole" if stage > self._last else f"stage {stage + 1}"
            request.note_run(StageTime(name, started, seconds, timed.count(request), len(rows)))

    def _go_on(
        self, exit_index: int, rows: list[Row], probabilities: FloatArray | None, features: Tensors
    ) -> int:
        """Send rows that reached an exit where they belong, and say how many left."""
        if probabilities is not None:
            batch = Batch(exit_index, rows, probabilities, features)
            ready = [batch] if exit_index == self._last else self._barrier.split(batch)
            return sum(self._settle(exit_index, part) for part in ready)
        try:
            self._queues[exit_index + 1].push(rows, features, None, self._clock())
        except Exception as error:
            self._fail(rows, f"queueing {len(rows)} images failed after stage {exit_index + 1}", error)
        return 0

    def _fail_broken(
        self,
        exit_index: int,
        rows: list[Row],
        broken: IndexArray,
        probabilities: FloatArray | None,
        features: Tensors,
    ) -> tuple[list[Row], FloatArray | None, Tensors]:
        """Fail the requests of rows on which the net overflowed; return what there is of the others."""
        self._emit(RowsBroken(self._name, exit_index, len(broken)))
        cause = EngineError("the net put out values that are not numbers, or not finite ones")
        failing = requests_of([rows[index] for index in broken.tolist()])
        gone = np.array([row.request in failing for row in rows])
        self._fail([row for row in rows if row.request in failing], f"exit {exit_index + 1}", cause)
        return (
            [row for row in rows if row.request not in failing],
            None if probabilities is None else probabilities[~gone],
            tuple(tensor[~gone] for tensor in features),
        )

    def _compute(
        self, stage: int, rows: Sequence[Row], inputs: Tensors
    ) -> tuple[int, tuple[int, ...], FloatArray | None, Tensors]:
        """Run a stage by the shortest way.

        Returns:
            The exit that was reached, the exits whose heads were skipped, probabilities (None where its own
            head was) and features.
        """
        if stage > self._last and self._shortcuts.whole is not None:
            return self._last, tuple(range(self._last)), self._shortcuts.whole(inputs), ()
        headless = self._shortcuts.headless.get(stage)
        if headless is not None and not needs_head(stage, rows):
            return stage, (stage,), None, headless(inputs)
        return stage, (), *self._run(stage, inputs)

    def _settle(self, stage: int, batch: Batch) -> int:
        """Let those leave who may, queue the others for the next stage, and say how many left."""
        for index, row in enumerate(batch.rows):
            if row.request.notes_all:
                row.request.note(row.position, (stage, batch.probabilities, index))
        try:
            leaves = self._who_leaves(stage, batch)
            staying = np.flatnonzero(~leaves)
            if staying.size:
                survivors = [batch.rows[index] for index in staying.tolist()]
                self._queues[stage + 1].push(survivors, batch.features, staying, self._clock())
        except Exception as error:
            self._fail(batch.rows, f"deciding on {len(batch.rows)} images failed at exit {stage + 1}", error)
            return 0
        leaving = []
        for index in np.flatnonzero(leaves).tolist():
            row = batch.rows[index]
            row.request.note(row.position, (stage, batch.probabilities, index))
            leaving.append(row)
        self._leave(leaving)
        return len(leaving)

    def _leave(self, rows: Sequence[Row]) -> None:
        """Let rows go with the answers they have, and answer the requests that waited for them alone."""
        for row in rows:
            row.request.unanswered -= 1
        self._admission.release(len(rows))  # before callers get their answers and send more
        if whole := [request for request in requests_of(rows) if request.unanswered == 0]:
            self._resolver.finish(whole)

    def _who_leaves(self, stage: int, batch: Batch) -> Mask:
        if stage == self._last:
            return np.ones(len(batch.rows), np.bool_)
        return checked(self._decide(stage, batch.rows, batch.probabilities), len(batch.rows))

    def _fail(self, rows: Sequence[Row], message: str, cause: Exception) -> None:
        """Fail the requests of rows that are in no queue; their other rows go when they are next touched."""
        for request in requests_of(rows):
            self._resolver.fail(request, engine_error(message, cause))
        self._drop(rows)

    def _drop(self, rows: Sequence[Row]) -> None:
        """Make room where rows were whose request is over, and where the barrier held others of it."""
        requests = requests_of(rows)
        self._admission.release(len(rows) + sum(self._barrier.forget(request) for request in requests))
        for request in requests:
            self._resolver.abandon(request)
