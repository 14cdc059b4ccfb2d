"""Ends every admitted request exactly once: with its result, with an error, or as abandoned by its caller."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple

from serving.errors import DeadlineError, EngineError, OfframpError
from serving.events import Listener, RequestDone, RequestFailed
from serving.interfaces import FloatArray
from serving.scheduler.admission import Admission
from serving.scheduler.request import Constraints, ExitAnswer, Request, ResultT


class FinishedRequest(NamedTuple):
    """A request whose N rows have left: its terms, the exit index of each, what these say, float32 [N, C].

    `history` has what every exit said, where that was asked for.
    """

    terms: Constraints
    exits: tuple[int, ...]
    probabilities: FloatArray
    history: Mapping[int, ExitAnswer] | None = None


MakeAnswers = Callable[[Sequence[FinishedRequest]], Sequence[ResultT]]
"""Requests -> what each one's future gets."""

_ABANDONED = "CancelledError"


class Resolver(Generic[ResultT]):
    """Resolves futures, and emits an event just before: a woken caller may already look for the event.

    Only who claims a request from `admission` may end it, so a request that another thread aborts in the
    meantime is not ended twice.

    Args:
        name: of the model, for events.
        exit_flops: the cost of leaving at each exit, in FLOPs per image.
        answer: makes the results of requests whose rows have all left.
        admission: of the requests in flight.
        clock: seconds from any origin.
        emit: gets the events; must not raise.
    """

    def __init__(
        self,
        *,
        name: str,
        exit_flops: Sequence[int],
        answer: MakeAnswers[ResultT],
        admission: Admission,
        clock: Callable[[], float],
        emit: Listener,
    ) -> None:
        self._name = name
        self._exit_flops = tuple(exit_flops)
        self._answer = answer
        self._admission = admission
        self._clock = clock
        self._emit = emit

    def finish(self, requests: Sequence[Request[Any]]) -> None:
        """Answer requests whose rows have all left; one whose answer cannot be made fails alone."""
        answered = [FinishedRequest(request.terms, *request.take(), request.history) for request in requests]
        try:
            results = self._answer(answered)
        except Exception as error:
            if len(requests) == 1:
                self.fail(requests[0], engine_error("the answer could not be made", error))
            else:
                for request in requests:
                    self.finish([request])
            return
        now = self._clock()
        claimed = self._admission.claim(requests)
        for request, (terms, exits, *_), result in zip(requests, answered, results, strict=True):
            if request in claimed and self._is_awaited(request):
                self._emit(
                    RequestDone(
                        self._name,
                        exits,
                        flops=tuple([self._exit_flops[exit_index] for exit_index in exits]),
                        budget_flops=terms.budget_flops,
                        seconds=now - request.admitted_at,
                        kind=terms.kind,
                        planned_flops=terms.planned_flops,
                        number=request.number,
                        budget_share=terms.budget_share,
                        full_flops=self._exit_flops[-1],
                        time=terms.time,
                    )
                )
                request.future.set_result(result)

    def finish_early(self, request: Request[Any]) -> None:
        """Answer a request with what its rows have; if one has been through no exit, the deadline is missed.

        May be called from any thread. Its rows that are under way are dropped where they are next touched.
        """
        if missing := request.exits.count(-1):
            self.fail(request, deadline_error(missing, request.size))
        else:
            self.finish([request])

    def fail(self, request: Request[Any], error: OfframpError) -> None:
        """End a request in an error; does nothing if it was ended before."""
        if self._begin(request):
            self._set_error(request, error)

    def fail_all(self, make_error: Callable[[], OfframpError]) -> None:
        """End all who are in, each in an error of its own."""
        for request in self._admission.claim_all():
            if self._is_awaited(request):
                self._set_error(request, make_error())

    def abandon(self, request: Request[Any]) -> None:
        """Note that a request is over without an answer; does nothing if it was ended before."""
        self._begin(request)

    def _begin(self, request: Request[Any]) -> bool:
        """Claim a request; False if its caller has gone or was answered."""
        return bool(self._admission.claim([request])) and self._is_awaited(request)

    def _is_awaited(self, request: Request[Any]) -> bool:
        if request.future.set_running_or_notify_cancel():
            return True
        self._emit(RequestFailed(self._name, _ABANDONED, request.size, request.number))
        return False

    def _set_error(self, request: Request[Any], error: OfframpError) -> None:
        self._emit(RequestFailed(self._name, type(error).__name__, request.size, request.number))
        request.future.set_exception(error)


def deadline_error(missing_rows: int, rows: int) -> DeadlineError:
    """The error of a request, `missing_rows` of whose images have no answer in time."""
    return DeadlineError(
        f"at the deadline no exit was done for {missing_rows} of {rows} images: allow more milliseconds, "
        "send fewer images at once, or try again when fewer wait"
    )


def engine_error(message: str, cause: Exception) -> EngineError:
    """An error with its cause attached, as `raise ... from` would."""
    error = EngineError(f"{message}: {cause}")
    error.__cause__ = cause
    return error
